"""Captions as the policy reads them: which objects they name, and the words around the names.

A world's object names are known, so what a caption refers to is read off exactly, not learned: a policy that had to find
the roles by attention never learned to stack (docs/method.md, section 5). The remaining words become learned embeddings
over hashed words, so a new combination of known words needs no new table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from ludus.skills.names import ObjectNames
from ludus.types import LudusError

BUCKETS = 512
"""Of the hash: rows of the embedding; row 0 is padding."""
MAX_WORDS = 12
"""Of a caption, each object name counted as one."""
MAX_OBJECTS = 3
"""Different objects in a caption."""


def _bucket(word: str) -> int:
    digest = hashlib.blake2b(word.encode(errors="replace"), digest_size=4).digest()
    return 1 + int.from_bytes(digest, "big") % (BUCKETS - 1)


class CaptionEncoder:
    """Turns captions into numbers for the objects of one world, in any case of letters; caches each caption."""

    def __init__(self, objects: Sequence[str]):
        self._names = ObjectNames(objects)
        self._index = {name: i for i, name in enumerate(objects)}
        self._cache: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read(self, caption: str) -> tuple[np.ndarray, np.ndarray]:
        """`(token_ids [MAX_WORDS] int64, 0 = padding; object_slots [MAX_OBJECTS] int64, -1 = none)`. A slot holds the index
        of an object, in order of first mention.

        Raises:
            LudusError: more words or objects than these; nothing is cut off.
        """
        if caption not in self._cache:
            found = [self._index[name] for name in self._names.find(caption)]
            words = self._names.replace(caption, "_").lower().split()
            _check(caption, len(found), MAX_OBJECTS, "different objects")
            _check(caption, len(words), MAX_WORDS, "words")
            token_ids = [_bucket(w) for w in words] + [0] * (MAX_WORDS - len(words))
            object_slots = found + [-1] * (MAX_OBJECTS - len(found))
            self._cache[caption] = np.array(token_ids, np.int64), np.array(object_slots, np.int64)
        return self._cache[caption]

    def check(self, captions: Iterable[str]) -> None:
        """Find out before anything is trained or collected whether a policy can be told all of these, and tells them apart.

        Raises:
            LudusError: one has too many words or objects, see `read`; or two are the same to a policy.
        """
        known = dict[tuple[int, ...], str]()
        for caption in captions:
            token_ids, object_slots = self.read(caption)
            other = known.setdefault((*sorted(token_ids.tolist()), *object_slots.tolist()), caption)
            if other != caption:
                raise LudusError(
                    f"a policy reads the captions {other!r} and {caption!r} as the same: words in no order, objects in that of "
                    "first mention; use another word in one of them"
                )

    def table(self, captions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """`(token_ids [n, MAX_WORDS], object_slots [n, MAX_OBJECTS])` of n captions.

        Raises:
            LudusError: one has too many words or objects; see `read`.
        """
        read = [self.read(c) for c in captions]
        return np.stack([w for w, _ in read]), np.stack([m for _, m in read])


def _check(caption: str, n: int, limit: int, what: str) -> None:
    if n > limit:
        raise LudusError(
            f"caption {caption!r} has {n} {what}, a policy reads at most {limit}; shorten it, or split the skill in two"
        )
