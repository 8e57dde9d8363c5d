"""One module for each task: its `INFER` sends requests and prints the answers. See `cvserve.cli.infer_task`."""
