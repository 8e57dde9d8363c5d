"""Turns captions into words and token ids, and back. Needs only numpy.

ptb.py        the words of a caption, as COCO's evaluation counts them
pieces.py     words as they stand in a vocabulary
merging.py    byte-pair encoding
learning.py   a vocabulary from captions
tokenizer.py  captions to ids and ids to captions, by a vocabulary
"""

from cvserve.text.learning import learn_vocabulary
from cvserve.text.ptb import caption_words
from cvserve.text.tokenizer import Tokenizer, decode

__all__ = ["Tokenizer", "caption_words", "decode", "learn_vocabulary"]
