"""One module for each task: its `RESULT` reads the answers. See `cvserve.client.messages`."""
