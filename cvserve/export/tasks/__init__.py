"""Holds what the export does differently for each task, one module a task. See `cvserve.export.task_export`."""
