"""Compares the outputs of an exported graph with those of the network that it was made from, one module a task."""
