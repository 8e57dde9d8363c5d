"""Holds one module a task: `DECODER` turns the outputs of its graphs into results. See `cvserve.postproc.decode`."""
