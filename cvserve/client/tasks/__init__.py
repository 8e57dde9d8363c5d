"""One module a task: `RESULT` reads its answers. See `cvserve.client.messages`."""
