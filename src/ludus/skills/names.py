"""Finds object names in text; all modules use this."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

LETTERS = "XYZUVW"
"""Letters that replace the objects of a template, in order of mention; the seventh object is X again."""


class ObjectNames:
    """Finds the names of `objects` in text: whole words, in any case, the longest first ('light blue' before 'blue')."""

    def __init__(self, objects: Sequence[str]) -> None:
        self.objects = tuple(objects)
        self._names = {name.lower(): name for name in self.objects}
        longest_first = sorted(self.objects, key=len, reverse=True)
        # without objects, a pattern that matches nothing
        names = "|".join(map(re.escape, longest_first)) or "(?!)"
        self._pattern = re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE)

    def mentions(self, text: str) -> tuple[str, ...]:
        """The object of every mention, in order; an object that is named twice is listed twice."""
        return tuple(map(self._object, self._pattern.findall(text)))

    def find(self, text: str) -> tuple[str, ...]:
        """The objects that a text names, in order of first mention."""
        return tuple(dict.fromkeys(self.mentions(text)))

    def template(self, text: str) -> str:
        """The text with its objects replaced by X, Y, Z in order of first mention: 'stack X on Y'."""
        found = self.find(text)
        letter = {name.lower(): LETTERS[i % len(LETTERS)] for i, name in enumerate(found)}
        return self._pattern.sub(lambda m: letter[self._object(m.group()).lower()], text)

    def substitute(self, text: str, swap: Mapping[str, str]) -> str:
        """The text with other objects in place of its own; those that are not in `swap` stay."""
        return self._pattern.sub(lambda m: swap.get(o := self._object(m.group()), o), text)

    def replace(self, text: str, marker: str) -> str:
        """The text with `marker` for every object."""
        return self._pattern.sub(lambda m: marker, text)

    def reading(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What a policy takes from a caption: its words, in no order, and its objects, in that of first mention. To it 'stack red
        on green' and 'on red stack green' are the same."""
        return tuple(sorted(self.replace(text, "_").lower().split())), self.find(text)

    def _object(self, mention: str) -> str:
        """The object that a match of the pattern names. Case does not matter in more ways than `lower` knows: ſ matches s."""
        if mention.lower() in self._names:
            return self._names[mention.lower()]
        return next(o for o in self.objects if re.fullmatch(re.escape(o), mention, re.IGNORECASE))
