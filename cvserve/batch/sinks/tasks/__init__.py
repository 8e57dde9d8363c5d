"""One module a task: `RULES` says how its results are written. See `cvserve.batch.sinks.rules`."""
