"""Describes how the scenes of each task differ: one module per task, with a `SCENE_TASK`."""
