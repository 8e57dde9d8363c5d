"""One module a task: `INFER` asks a server and prints what it answers. See `cvserve.cli.infer_task`."""
