"""Captioning networks. Importing this room registers them."""

from cvserve.models.captioning import show_and_tell, show_attend_tell, transformer  # noqa: F401  (register themselves)
from cvserve.models.captioning.captioner import Captioner, captioner, create_captioner
from cvserve.models.captioning.decoder import CaptionDecoder, Step, Taught

__all__ = ["CaptionDecoder", "Captioner", "Step", "Taught", "captioner", "create_captioner"]
