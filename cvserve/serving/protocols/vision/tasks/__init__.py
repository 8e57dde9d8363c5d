"""One module for each task: its `MESSAGES` converts results to messages. See
`cvserve.serving.protocols.vision.answers`."""
