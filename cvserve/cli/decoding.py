"""The flags that say how sentences are searched."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cvserve.cli.arguments import not_negative, positive

if TYPE_CHECKING:
    from cvserve.artifact import Decoding

_FIELDS = ("length_penalty", "no_repeat_ngram", "temperature", "top_k", "seed", "sentences")


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """--beam, --sample and what belongs to them; `decoding_of` reads them."""
    group = parser.add_argument_group("captioning: how sentences are searched; default: greedily")
    how = group.add_mutually_exclusive_group()
    how.add_argument("--beam", type=positive, metavar="N", help="beam search: the N best beginnings are followed")
    how.add_argument("--sample", action="store_true", help="each word by chance, the same for an image at every call")
    group.add_argument(
        "--length-penalty",
        type=float,
        metavar="A",
        help="beams are ranked by log P / ((5 + n) / 6) ^ A, n words; default: 0",
    )
    group.add_argument(
        "--no-repeat-ngram", type=positive, metavar="N", help="no N words in a row occur twice in a sentence"
    )
    group.add_argument("--temperature", type=float, metavar="T", help="of sampling: above 1 bolder, below 1 safer")
    group.add_argument("--top-k", type=positive, metavar="K", help="of sampling: among the K likeliest words")
    group.add_argument("--seed", type=not_negative, metavar="N", help="of sampling; default: 0")
    group.add_argument("--sentences", type=positive, metavar="K", help="sentences an image; default: 1")


def decoding_of(arguments: argparse.Namespace) -> Decoding | None:
    """What the flags say; None where they say nothing.

    Raises:
        InvalidInput: flags that do not go together.
    """
    from cvserve.artifact import Decoding
    from cvserve.settings import parse

    values = {name: getattr(arguments, name) for name in _FIELDS if getattr(arguments, name) is not None}
    if arguments.beam is not None:
        values |= {"method": "beam", "beam_width": arguments.beam}
    elif arguments.sample:
        values["method"] = "sampling"
    return parse(Decoding, values, "the flags of decoding") if values else None
