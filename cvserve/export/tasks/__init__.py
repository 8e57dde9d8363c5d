"""What the export does differently for each task, one module a task, as `EXPORT`. See `cvserve.export.task_export`."""
