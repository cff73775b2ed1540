"""Skills as data: a caption, a reward and a success expression; and the library that scores observations by them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ludus.skills import expression
from ludus.skills.expression import Expression, canonical
from ludus.skills.names import LETTERS, ObjectNames
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError, Observations, unknown

CHUNK = 8192
"""Observations scored at once: their columns and terms stay in the processor's cache."""


@dataclass(frozen=True)
class Skill:
    """Something a robot can be told to do. Text only: the same skill can be stored, sent and written by a model."""

    caption: str
    reward: str  # expression, clipped to [0, 1]
    success: str  # expression, bool
    steps: int = 80  # control steps until the next skill
    base: bool = True  # of a world's library: a run begins with it; the others join where they are asked for by name
    prerequisites: str = ""  # expression, bool, of what should hold before it begins; empty for none

    @property
    def hash(self) -> str:
        """Twelve hex digits that name caption, canonical reward and success, steps and the language's version.

        Raises:
            LudusError: an expression is outside the language.
        """
        return self._hash

    @cached_property
    def _hash(self) -> str:
        content = [expression.VERSION, self.caption, canonical(self.reward), canonical(self.success), self.steps]
        return hashlib.blake2b(json.dumps(content).encode(), digest_size=6).hexdigest()


class SkillLibrary:
    """An ordered, immutable set of checked skills over one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, skills: Iterable[Skill]):
        """Check every skill.

        Raises:
            LudusError: a caption twice or empty, a malformed expression, a success that is not a condition.
        """
        self.vocabulary = vocabulary
        self._names = ObjectNames(vocabulary.objects)
        self._skills: dict[str, Skill] = {}
        self._parsed: dict[str, tuple[Expression, Expression]] = {}
        for skill in skills:
            if not skill.caption.strip():
                raise LudusError("a skill needs a caption; write what the robot is told, such as 'reach red'")
            try:
                skill.caption.encode()
            except UnicodeEncodeError:
                raise LudusError(f"the caption {skill.caption!a} is no UTF-8, and could not be kept; mend it") from None
            if skill.caption in self._skills:
                raise LudusError(f"skill {skill.caption!r} is in the library twice; give one another caption")
            if not skill.steps > 0:
                raise LudusError(f"skill {skill.caption!r} has {skill.steps} steps; it needs at least 1")
            self._skills[skill.caption] = skill
            self.parse(skill)

    def __getitem__(self, caption: str) -> Skill:
        if caption not in self._skills:
            raise unknown("skill", caption, self.captions)
        return self._skills[caption]

    def __contains__(self, caption: object) -> bool:
        return caption in self._skills

    def __iter__(self) -> Iterator[Skill]:
        return iter(self._skills.values())

    def __len__(self) -> int:
        return len(self._skills)

    @cached_property
    def captions(self) -> tuple[str, ...]:
        return tuple(self._skills)

    @cached_property
    def base(self) -> SkillLibrary:
        """Its base skills alone."""
        return SkillLibrary(self.vocabulary, [s for s in self if s.base])

    def add(self, *skills: Skill) -> SkillLibrary:
        """A new library with these too."""
        return SkillLibrary(self.vocabulary, [*self, *skills])

    def parse(self, skill: Skill) -> tuple[Expression, Expression]:
        """`(reward, success)` of a skill, which need not be in the library.

        Raises:
            LudusError: malformed, or a success that is not a condition; names the skill.
        """
        if skill.hash not in self._parsed:
            try:
                reward = expression.parse(skill.reward, self.vocabulary)
                success = expression.parse(skill.success, self.vocabulary)
            except LudusError as e:
                raise LudusError(f"skill {skill.caption!r}: {e}") from None
            if success.type != "bool":
                raise LudusError(f"skill {skill.caption!r}: success {skill.success!r} is a number; compare it with one")
            self._parsed[skill.hash] = reward, success
        return self._parsed[skill.hash]

    def rewards(self, caption: str, observations: Observations) -> tuple[np.ndarray, np.ndarray]:
        """`(reward [...] float32 in [0, 1], success [...] bool)` of one skill at observations `[..., size]`.

        Raises:
            LudusError: unknown caption.
        """
        reward, success = self.score(observations, [caption])
        return reward[0], success[0]

    def score(self, observations: Observations, captions: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Many skills (all by default) at the same observations; terms that they share are computed once.

        Returns: rewards `[n_skills, ...]` float32 in [0, 1], success `[n_skills, ...]` bool.

        Raises:
            LudusError: unknown caption.
        """
        parsed = [self.parse(self[c]) for c in (self.captions if captions is None else captions)]
        lead = self.vocabulary.spec.lead(observations)
        n = int(np.prod(lead))
        flat = {g.name: observations[g.name].reshape(n, *g.shape) for g in self.vocabulary.spec.groups}
        rewards = np.empty((len(parsed), n), np.float32)
        successes = np.empty((len(parsed), n), bool)
        for start in range(0, n, CHUNK):
            rows = slice(start, start + CHUNK)
            chunk = {g: v[rows] for g, v in flat.items()}
            cache: expression.Cache = {}
            for i, (reward, success) in enumerate(parsed):
                rewards[i, rows] = np.clip(reward.evaluate(chunk, cache), 0, 1)
                successes[i, rows] = success.evaluate(chunk, cache)
        return rewards.reshape(-1, *lead), successes.reshape(-1, *lead)

    def mentioned(self, caption: str) -> tuple[str, ...]:
        """The objects that a text names, in order of first mention."""
        return self._names.find(caption)

    def template(self, caption: str) -> str:
        """The caption with the objects it names replaced by X, Y, Z in order of mention: 'stack X on Y'."""
        return self._names.template(caption)

    def families(self, captions: Iterable[str]) -> dict[str, list[str]]:
        """These captions by template, both in order of mention."""
        found: dict[str, list[str]] = {}
        for caption in captions:
            found.setdefault(self.template(caption), []).append(caption)
        return found

    def matching(self, names: Sequence[str]) -> tuple[str, ...]:
        """Captions called `names`: each a caption, a template as 'stack X on Y' or 'stack _ on _', or 'base' for all base skills.

        Raises:
            LudusError: not in the library.
        """
        templates = self.families(self.captions)
        captions: dict[str, None] = {}
        for name in names:
            letters = iter(LETTERS)
            template = re.sub(r"(?<!\w)_(?!\w)", lambda m, letters=letters: next(letters, "_"), name)
            if name == "base" and name not in self:
                captions |= dict.fromkeys(self.base.captions)
                continue
            if name not in self and template not in templates:
                raise unknown("skill", name, (*templates, *self.captions))
            captions |= dict.fromkeys(templates.get(template, [name]))
        return tuple(captions)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as what it was made of; what was parsed is parsed again."""
        return SkillLibrary, (self.vocabulary, tuple(self))
