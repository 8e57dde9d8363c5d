"""Holds one module a task: `DRAWING` draws its results onto an image. See `cvserve.postproc.drawing.draw`."""
