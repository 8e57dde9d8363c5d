"""One module for each task: its `RULES` describe how its results are written. See `cvserve.batch.sinks.rules`."""
