"""Stores a set of image names in little memory."""

from __future__ import annotations

import hashlib
from array import array

import numpy as np


class NameSet:
    """Holds names in 8 bytes each, since a run may continue a file with millions. Call `freeze` before looking up
    names.

    Of a million names, the chance that any two share their 64 bits of hash is 3 in 10^8.
    """

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._sorted = np.empty(0, np.uint64)

    def add(self, name: str) -> None:
        """Adds a name."""
        self._hashes.append(self._hash(name))

    def freeze(self) -> None:
        """Sorts the names, so that they can be looked up."""
        self._sorted = np.sort(np.frombuffer(self._hashes, np.uint64)) if self._hashes else self._sorted
        self._hashes = array("Q")

    def __contains__(self, name: str) -> bool:
        wanted = np.uint64(self._hash(name))
        place = int(np.searchsorted(self._sorted, wanted))
        return place < len(self._sorted) and bool(self._sorted[place] == wanted)

    @staticmethod
    def _hash(name: str) -> int:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little")
