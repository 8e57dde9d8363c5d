"""Queues requests and runs them in batches."""
