"""Holds one module a task: its part of the manifest, as `SPEC`. See `cvserve.artifact.task_spec`."""
