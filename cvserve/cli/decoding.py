"""The flags that set how captions are decoded."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cvserve.cli.arguments import not_negative, positive

if TYPE_CHECKING:
    from cvserve.artifact import Decoding

_FIELDS = ("length_penalty", "no_repeat_ngram", "temperature", "top_k", "seed", "sentences")


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """Adds --beam, --sample and their options; `decoding_of` reads them."""
    group = parser.add_argument_group("captioning: how sentences are decoded; default: greedily")
    how = group.add_mutually_exclusive_group()
    how.add_argument("--beam", type=positive, metavar="N", help="beam search that keeps the N best beginnings")
    how.add_argument("--sample", action="store_true", help="draw words at random, the same ones for the same image")
    group.add_argument(
        "--length-penalty",
        type=float,
        metavar="A",
        help="rank beams by log P / ((5 + n) / 6) ^ A for n words; default: 0",
    )
    group.add_argument(
        "--no-repeat-ngram", type=positive, metavar="N", help="no sequence of N words occurs twice in a sentence"
    )
    group.add_argument("--temperature", type=float, metavar="T", help="for --sample: above 1 more varied, below 1 less")
    group.add_argument("--top-k", type=positive, metavar="K", help="for --sample: only among the K most probable words")
    group.add_argument("--seed", type=not_negative, metavar="N", help="for --sample; default: 0")
    group.add_argument("--sentences", type=positive, metavar="K", help="sentences for each image; default: 1")


def decoding_of(arguments: argparse.Namespace) -> Decoding | None:
    """Returns the decoding that the flags ask for; None without such flags.

    Raises:
        InvalidInput: flags that cannot be combined.
    """
    from cvserve.artifact import Decoding
    from cvserve.settings import parse

    values = {name: getattr(arguments, name) for name in _FIELDS if getattr(arguments, name) is not None}
    if arguments.beam is not None:
        values |= {"method": "beam", "beam_width": arguments.beam}
    elif arguments.sample:
        values["method"] = "sampling"
    return parse(Decoding, values, "the flags of decoding") if values else None
