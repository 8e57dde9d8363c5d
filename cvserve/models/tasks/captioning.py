"""Describes captioning networks: a sentence for the image. A class is a token of the vocabulary."""

from cvserve.models.tasks._task import ModelTask

MODEL_TASK = ModelTask(resize="letterbox", fewest=5, counted=10_000, classes="tokens, four of them special")
"""Parameters are counted for a vocabulary of 10,000 tokens, about that of COCO's captions."""
