"""One module a task: `MESSAGES` turns its results into messages. See `cvserve.serving.protocols.vision.answers`."""
