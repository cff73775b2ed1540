"""What candidates are checked on: stored observations, and a candidate's expressions evaluated on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ludus.skills.expression import Cache, Expression
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError, Observations

AT_MOST_STARTS = 0.5
"""Share of starts at which a skill may be done already."""
MIN_WAYS = 9
"""Stored ways to success from which a candidate is judged by them: if 30 % are needed, none of 9 is unlikely (.7^9 = .04)."""
LEAST_WAY = 8
"""Observations between the beginning of a skill and its success: a shorter way is an accident or a flicker."""


@dataclass(frozen=True)
class Evidence:
    """Stored observations that candidates are checked on.

    Raises:
        LudusError: no starts.
    """

    episodes: tuple[Observations, ...]
    """Each group -> `[T+1, size]`: a few hundred stored episodes of any behaviour; may be none."""
    starts: Observations
    """Group -> `[n, size]`: first observations of fresh starts."""

    def __post_init__(self) -> None:
        if not self.starts or min(len(a) for a in self.starts.values()) == 0:
            raise LudusError("evidence without starts; give the first observations of some fresh starts")

    @cached_property
    def together(self) -> Observations:
        """Group -> `[N + n, size]`: all stored observations, episode by episode, and then the starts. The episodes are in the
        order of their content, so that no check depends on the order in which they were given."""
        return {g: np.concatenate([*(e[g] for e in self._sorted), starts]) for g, starts in self.starts.items()}

    @cached_property
    def ends(self) -> np.ndarray:
        """`[len(episodes) + 1]` where in `together` each episode begins, and where the last ends."""
        group = next(iter(self.starts))
        return np.concatenate([[0], np.cumsum([len(e[group]) for e in self._sorted])]).astype(int)

    @property
    def n_stored(self) -> int:
        """N, the number of stored observations without the starts."""
        return int(self.ends[-1])

    def runs(self, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(begin, end)` of each time that a condition, `[N or more]` bool, holds without a break within a stored episode."""
        n = self.n_stored
        first = np.zeros(n + 1, bool)
        first[self.ends] = True  # of an episode, or one past the last
        before, now = np.concatenate([[False], holds[:n]]), np.concatenate([holds[:n], [False]])
        return np.flatnonzero(now & (~before | first)), np.flatnonzero(before & (~now | first))

    @cached_property
    def _sorted(self) -> list[Observations]:
        def digest(episode: Observations) -> bytes:
            return hashlib.blake2b(b"".join(episode[g].tobytes() for g in self.starts)).digest()

        return sorted(self.episodes, key=digest)


@dataclass(frozen=True)
class Written:
    """A candidate's expressions after parsing."""

    reward: Expression
    success: Expression
    prerequisites: Expression | None
    goal: Expression | None
    steps: int

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Those of the candidate itself, without the goal."""
        return tuple(e for e in (self.reward, self.success, self.prerequisites) if e is not None)


@dataclass(frozen=True)
class Scores:
    """A candidate's expressions at the N stored observations and n starts of the evidence."""

    written: Written
    evidence: Evidence
    reward: np.ndarray
    """`[N + n]` float32 as written: not clipped to [0, 1]."""
    success: np.ndarray
    """`[N + n]` bool."""
    ready: np.ndarray
    """`[N + n]` bool: the prerequisites hold."""
    cache: Cache
    """Values of all sub-expressions by canonical text."""

    @property
    def vocabulary(self) -> Vocabulary:
        return self.written.success.vocabulary

    @cached_property
    def successful(self) -> np.ndarray:
        """Indices of stored observations where the success holds."""
        return np.flatnonzero(self.success[: self.evidence.n_stored])

    @cached_property
    def others(self) -> np.ndarray:
        """Indices of stored observations where it does not."""
        return np.flatnonzero(~self.success[: self.evidence.n_stored])

    @cached_property
    def beginnings(self) -> np.ndarray:
        """Indices where the skill would begin: the starts at which the prerequisites hold; where there is none, the stored
        observations at which they begin to hold; where there is none either, all starts."""
        n = self.evidence.n_stored
        at_starts = n + np.flatnonzero(self.ready[n:])
        if len(at_starts):
            return at_starts
        onsets = self._onsets(self.ready)
        return onsets if len(onsets) else np.arange(n, len(self.ready))

    @cached_property
    def undoes(self) -> bool:
        """Whether the success holds at most starts, so that only the prerequisites give the skill something to do."""
        return bool(self.success[self.evidence.n_stored :].mean() > AT_MOST_STARTS)

    @cached_property
    def ways(self) -> list[tuple[int, int]]:
        """`(begin, onset)` of each time that a stored episode came from false to success: the success does not hold from
        `begin` until `onset`. At most as long as the skill may last; from where the prerequisites hold if it undoes them."""
        found = []
        previous = np.maximum.accumulate(np.where(self.success, np.arange(len(self.success)), -1))
        for onset in self._onsets(self.success):
            first = self.episode(onset)
            if onset == first:
                continue
            first = max(first, previous[onset - 1] + 1, onset - self.written.steps)
            ready = np.flatnonzero(self.ready[first:onset]) if self.undoes else np.zeros(1, int)
            if len(ready) and onset - (first + ready[0]) >= LEAST_WAY:
                found.append((int(first + ready[0]), int(onset)))
        return found

    @cached_property
    def led(self) -> np.ndarray:
        """`[N]` bool: the prerequisites held before, in the same episode."""
        n = self.evidence.n_stored
        latest = np.maximum.accumulate(np.where(self.ready[:n], np.arange(n), -1))
        begins = np.repeat(self.evidence.ends[:-1], np.diff(self.evidence.ends))
        return np.concatenate([[False], latest[:-1] >= begins[1:]])[:n]

    @cached_property
    def reached(self) -> np.ndarray:
        """Indices at which stored episodes came from false to success for the first time."""
        firsts = {self.episode(t): int(t) for t in reversed(self._onsets(self.success))}
        return np.array(sorted(t for first, t in firsts.items() if t > first), int)

    def episode(self, index: int) -> int:
        """Where the episode of a stored observation begins."""
        return int(self.evidence.ends[np.searchsorted(self.evidence.ends, index, "right") - 1])

    def _onsets(self, holds: np.ndarray) -> np.ndarray:
        """Indices of stored observations where a condition holds and, within the episode, did not just before."""
        return self.evidence.runs(holds)[0]

    def at(self, index: int) -> str:
        """What is seen at one observation, for an author: the reward, and the predicates that it and the success read."""
        w = self.written
        atoms = [e for e in (*w.success.node.walk(), *w.reward.node.walk()) if e.op == "call"]
        texts = dict.fromkeys(a.text for a in atoms if a.name in self.vocabulary.by_name)
        values = [f"{t} = {_value(self.cache[t], index)}" for t in list(texts)[:6]]
        return f"for example, reward {self.reward[index]:.2f} where {', '.join(values) or 'nothing is read'}"


def score(written: Written, evidence: Evidence) -> Scores:
    """Evaluate a candidate's expressions on all of the evidence, each sub-expression once."""
    cache: Cache = {}
    seen = evidence.together
    reward = np.asarray(written.reward.evaluate(seen, cache), np.float32)
    success = written.success.evaluate(seen, cache)
    ready = np.ones(len(success), bool)
    if written.prerequisites is not None:
        ready = written.prerequisites.evaluate(seen, cache)
    return Scores(written, evidence, reward, success, ready, cache)


def _value(values: np.ndarray, index: int) -> str:
    value = values[index] if np.ndim(values) else values
    return str(bool(value)).lower() if values.dtype == bool else f"{value:.3g}"
