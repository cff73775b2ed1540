"""Captions as the policy reads them: which objects are mentioned, and the words around them.

A world's object names are known, so what a caption refers to is read off exactly, not learned (METHOD: a policy that
had to find the roles by attention never learned to stack). The remaining words, the *verb*, become learned embeddings over
hashed words, so a new combination of known words needs no new table.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

BUCKETS = 512
MAX_WORDS = 12
MAX_MENTIONED = 3


def _bucket(word: str) -> int:
    return 1 + int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % (BUCKETS - 1)


class CaptionEncoder:
    """Turns captions into numbers for the objects of one world; caches each caption."""

    def __init__(self, objects: Sequence[str]):
        self.objects = tuple(objects)
        names = "|".join(re.escape(o) for o in sorted(objects, key=len, reverse=True))
        self._names = re.compile(rf"\b({names})\b")
        self._cache: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read(self, caption: str) -> tuple[np.ndarray, np.ndarray]:
        """`(words [MAX_WORDS] int64, 0 = padding; mentioned [MAX_MENTIONED] int64, -1 = none)`."""
        if caption not in self._cache:
            mentioned = list(dict.fromkeys(self.objects.index(m) for m in self._names.findall(caption)))
            mentioned = mentioned[:MAX_MENTIONED] + [-1] * (MAX_MENTIONED - len(mentioned))
            words = self._names.sub("_", caption).lower().split()[:MAX_WORDS]
            codes = [_bucket(w) for w in words] + [0] * (MAX_WORDS - len(words))
            self._cache[caption] = np.array(codes, np.int64), np.array(mentioned, np.int64)
        return self._cache[caption]

    def table(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """`(words [n, MAX_WORDS], mentioned [n, MAX_MENTIONED])` of n captions."""
        read = [self.read(c) for c in captions]
        return np.stack([w for w, _ in read]), np.stack([m for _, m in read])
