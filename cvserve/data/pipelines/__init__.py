"""Turns a split of a data set into batches for training, one pipeline a task."""
