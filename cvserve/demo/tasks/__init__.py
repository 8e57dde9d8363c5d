"""Holds what each task adds to the demo: one module per task, with a `DEMO_TASK`."""
