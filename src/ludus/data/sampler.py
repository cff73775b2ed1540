"""Batches for the learner: (transition, skill, relabelled n-step return), drawn from everything in RAM. Labels found in
hindsight: Andrychowicz et al. 2017, arXiv 1707.01495.

Reward of transition t under a skill is that of the observation it leads to:
`(1 - sparse) * dense(o[t+1]) + sparse * success(o[t+1])`. The window of a transition is up to `n_step` steps, cut at
the end of its *span* when the label is the command it was collected under (what follows was done under another one),
else at the end of its *stretch*: the episode's, or where something was moved from outside (`Segment.reset`), which no action
is to be praised for. Nothing here is terminal: discounts are gamma^steps, never 0.

Batch i is drawn by the named child seed (seed, 'batch', i): so the cursor is one number, and batches do not depend on
when the sampler was made or refreshed, only on what the store holds when they are drawn.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ludus.config import AgentConfig, SamplingConfig
from ludus.data.relabel import Relabeller
from ludus.data.store import EpisodeStore, Shard
from ludus.seeding import rng
from ludus.skills.library import SkillLibrary
from ludus.types import Batch, LudusError

FAR = 0x7FFF
"""Distance of a success that never comes; longer distances are cut to it."""
NOW = 0x8000
"""Bit of `_Rows.soon` that says: succeeded at this very observation."""


@dataclass
class _Rows:
    """Everything of some shards, one row per observation; rows of an episode are adjacent, in time."""

    observations: np.ndarray  # [N, D] float32, groups side by side
    actions: np.ndarray  # [N, A] float32; the last row of an episode has no action, zeros stand there
    command: np.ndarray  # [N] int32: index into `Sampler._commands` of what was told; -1 in last rows
    source: np.ndarray  # [N] int16: index into `Sampler._sources`
    span_end: np.ndarray  # [N] int32: row of the last observation of the span
    stretch_end: np.ndarray  # [N] int32: row of the last observation that follows from this one
    reward: np.ndarray  # [S, N] float32, dense and sparse mixed
    soon: np.ndarray  # [N, S] uint16: steps to the next success after this row (FAR: none), plus NOW


class Sampler:
    """Draws `Batch`es. Needs about 4 (D + A + S) + 2 S bytes per transition: 0.3 GB for 500,000 transitions of three
    blocks under 40 skills.

    Args:
        stores: one, or several of the same world; then a source is called `<place of the store>/<collecting step>`.
        pac: gives gamma, n_step and batch_size.
        sampling: shares of the labels; the reward's mix; `horizon` and `balance`.
        seed: the run's seed.
        shares: prefix of collecting steps -> share of the draws, e.g. {'seed-data': 0.5, 'round': 0.5}; by default
            every transition is as likely as any other. Episodes of no prefix are left out.
        folder: where mapped transitions lie; by default the system's folder for temporary files.

    Raises:
        LudusError: an empty store, stores of different worlds, observations or actions that are no numbers, shares of
            labels that do not fit into 1, no room in `folder`.
    """

    def __init__(
        self,
        stores: EpisodeStore | Sequence[EpisodeStore],
        library: SkillLibrary,
        agent: AgentConfig,
        sampling: SamplingConfig,
        seed: int,
        *,
        shares: Mapping[str, float] | None = None,
        folder: Path | None = None,
    ):
        if (
            min(sampling.commanded_ratio, sampling.hindsight_ratio) < 0
            or sampling.commanded_ratio + sampling.hindsight_ratio > 1 + 1e-9
        ):
            raise LudusError(
                f"sampling.commanded_ratio {sampling.commanded_ratio} and sampling.hindsight_ratio "
                f"{sampling.hindsight_ratio} are shares; each at least 0, together at most 1"
            )
        self.batch_size = agent.batch_size
        self._stores = [stores] if isinstance(stores, EpisodeStore) else list(stores)
        self._library = library
        self._gamma = np.float32(agent.gamma) ** np.arange(agent.n_step + 1, dtype=np.float32)
        self._n_step = agent.n_step
        self._sampling = sampling
        self._seed = seed
        self._folder = folder or Path(tempfile.gettempdir())
        self._shares = dict(shares) if shares is not None else None
        self._batches = 0
        self._shards: list[tuple[int, Shard]] = []  # place of the store, shard
        self._commands: list[str] = []
        self._sources: list[str] = []
        self._rows: _Rows | None = None
        self._groups: dict[str, slice] = {}
        self.refresh()
        if self._rows is None:
            where = ", ".join(str(s.record.directory) for s in self._stores)
            raise LudusError(f"{where} holds no episodes to sample; collect some first")

    @property
    def captions(self) -> tuple[str, ...]:
        """What `Batch.skills` indexes; grows with the library."""
        return tuple(self._library.captions)

    @property
    def n_transitions(self) -> int:
        return len(self._strata.rows)

    def state(self) -> dict[str, int]:
        """The cursor: JSON."""
        return {"batches": self._batches}

    def restore(self, state: Mapping[str, int]) -> None:
        """Continue where `state` was taken, given the same store and library."""
        self._batches = int(state["batches"])

    # --- drawing -----------------------------------------------------------------------------------------------

    def next(self) -> Batch:
        """The next batch; fresh arrays."""
        draw = rng(self._seed, "batch", self._batches)
        self._batches += 1
        rows = self._rows
        assert rows is not None
        row, _ = self._strata.draw(draw, self.batch_size)
        own = self._skill_of_command[rows.command[row]]
        skill, achieved = self._draw_skills(draw, rows.soon[row], own)
        if self._achieved is not None:
            row[achieved], skill[achieved] = self._achieved.draw(draw, int(achieved.sum()))
            own = self._skill_of_command[rows.command[row]]
        is_own = skill == own
        end = np.where(is_own, rows.span_end[row], rows.stretch_end[row])
        n = np.minimum(end - row, self._n_step)
        ahead = np.arange(self._n_step)
        inside = ahead < n[:, None]
        reached = np.minimum(row[:, None] + 1 + ahead, end[:, None])
        rewards = rows.reward[skill[:, None], reached]
        returns = np.where(inside, rewards, 0) @ self._gamma[:-1]
        now, then = rows.observations.take(row, axis=0), rows.observations.take(row + n, axis=0)
        return Batch(
            observations={g: now[:, s] for g, s in self._groups.items()},
            actions=rows.actions.take(row, axis=0),
            next_observations={g: then[:, s] for g, s in self._groups.items()},
            returns=returns,
            discounts=self._gamma[n],
            skills=skill,
            bc_mask=achieved if self._sampling.bc_labels == "hindsight" else is_own,
        )

    def _draw_skills(
        self, draw: np.random.Generator, soon: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`[B]` labels: own command, achieved in hindsight, or any; and which are achieved. Where nothing is achieved the
        own command stands; where that is unknown to the library, any skill."""
        kind, pick = draw.random((2, self.batch_size))
        skill = draw.integers(0, soon.shape[1], self.batch_size)
        near = (soon & FAR) <= self._sampling.horizon
        fresh = near & (soon < NOW)  # not yet so at this observation: something to be done
        candidates = np.where(fresh.any(1, keepdims=True), fresh, near)
        ranks = candidates.cumsum(1)
        chosen = np.argmax(ranks > (pick * ranks[:, -1])[:, None].astype(np.int64), axis=1)
        hindsight = (kind >= self._sampling.commanded_ratio) & (
            kind < self._sampling.commanded_ratio + self._sampling.hindsight_ratio
        )
        achieved = hindsight & (ranks[:, -1] > 0)
        told = (kind < self._sampling.commanded_ratio) | (hindsight & ~achieved)
        return np.where(achieved, chosen, np.where(told & (own >= 0), own, skill)), achieved

    # --- loading -----------------------------------------------------------------------------------------------

    def refresh(self, library: SkillLibrary | None = None) -> None:
        """Take in what the store holds by now, and the skills that `library` has more.

        Raises:
            LudusError: `library` does not begin with the skills known before (labels would change their meaning).
        """
        old = [s.hash for s in self._library]
        library = library or self._library
        new = [s.hash for s in library]
        if new[: len(old)] != old:
            raise LudusError("the sampler's library may only grow at its end; make a new Sampler for another library")
        relabellers = [Relabeller(s, library) for s in self._stores]
        if len(new) > len(old) and self._rows is not None:
            added = tuple(library.captions)[len(old) :]
            columns = [relabellers[k].columns(s, added) for k, s in self._shards]
            reward, soon = self._scored(columns, self._rows.stretch_end)
            self._rows.reward = self._joined(self._rows.reward, reward, 0)
            self._rows.soon = self._joined(self._rows.soon, soon, 1)
        self._library = library
        known = {(k, s.name) for k, s in self._shards}
        fresh = [(k, s) for k, store in enumerate(self._stores) for s in store.shards() if (k, s.name) not in known]
        self._check_worlds(fresh)
        if fresh:
            first = 0 if self._rows is None else len(self._rows.actions)
            n = first + sum(s.n_steps + len(s.episodes) for _, s in fresh)
            rows = None
            for k, shard in fresh:
                part = self._load(k, shard, relabellers[k], first)
                if rows is None:
                    rows = self._room(part, n)
                    if self._rows is not None:
                        _put(rows, self._rows, 0)
                _put(rows, part, first)
                first += len(part.actions)
            self._rows = rows
            self._shards += fresh
        if self._rows is not None:
            self._stratify()

    def _room(self, like: _Rows, n: int) -> _Rows:
        """Space for n rows."""

        def empty(name: str) -> np.ndarray:
            array = getattr(like, name)
            return self._empty((len(array), n) if name == "reward" else (n, *array.shape[1:]), array.dtype)

        return _Rows(*map(empty, _Rows.__dataclass_fields__))

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if self._sampling.memory == "ram":
            return np.empty(shape, dtype)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  the map keeps it
            if hasattr(os, "posix_fallocate"):  # a map that cannot be written kills the process
                os.posix_fallocate(file.fileno(), 0, max(1, size))
        except OSError as error:
            raise LudusError(
                f"no room for {size / 1e6:,.0f} MB of mapped transitions in {self._folder} ({error.strerror}); free some "
                "space there, or give sampling.memory=ram"
            ) from error
        return np.memmap(file, dtype, "w+", shape=shape)

    def _joined(self, old: np.ndarray, new: np.ndarray, axis: int) -> np.ndarray:
        shape = list(old.shape)
        shape[axis] += new.shape[axis]
        return np.concatenate([old, new], axis=axis, out=self._empty(tuple(shape), old.dtype))

    def _check_worlds(self, fresh: Sequence[tuple[int, Shard]]) -> None:
        worlds = {e.world: self._stores[k].record.directory for k, s in [*self._shards, *fresh] for e in s.episodes[:1]}
        if len(worlds) > 1:
            where = " and ".join(f"{d} ({w})" for w, d in worlds.items())
            raise LudusError(f"{where} hold episodes of different worlds, which do not mix; train on one of them")

    def _load(self, k: int, shard: Shard, relabeller: Relabeller, first: int) -> _Rows:
        store = self._stores[k]
        observations, actions = store.observations(shard), store.actions(shard)
        for group, array in (*observations.items(), ("actions", actions)):
            finite = np.isfinite(array).all(1)
            if not finite.all():
                row = int(np.argmin(finite))
                lasts = np.cumsum([e.n_steps + (group != "actions") for e in shard.episodes])
                episode = shard.episodes[int(np.searchsorted(lasts, row, side="right"))]
                raise LudusError(
                    f"episode {episode.id!r} of {store.record.directory} has a value of {group} that is no number; "
                    f"its world is broken: collect it again (shard {shard.name})"
                )
        if not self._groups:
            start = 0
            for name, array in observations.items():
                self._groups[name] = slice(start, start + array.shape[1])
                start += array.shape[1]
        n = shard.n_steps + len(shard.episodes)
        wide = np.concatenate([observations[g] for g in self._groups], axis=1)
        acted = np.zeros((n, actions.shape[1]), np.float32)
        command, source = np.full(n, -1, np.int32), np.zeros(n, np.int16)
        span_end, stretch_end = np.zeros(n, np.int32), np.zeros(n, np.int32)
        for e in shard.episodes:
            o, a = e.first_action + e.place, e.first_action
            last = o + e.n_steps
            acted[o:last] = actions[a : a + e.n_steps]
            name = e.step if len(self._stores) == 1 else f"{k}/{e.step}"
            source[o : last + 1] = _index(self._sources, name)
            span_end[last] = stretch_end[o : last + 1] = last
            ends = [s.start for s in e.segments[1:]] + [e.n_steps]
            for segment, end in zip(e.segments, ends, strict=True):
                command[o + segment.start : o + end] = _index(self._commands, segment.caption)
                span_end[o + segment.start : o + end] = o + end
                if segment.reset:
                    before = stretch_end[o : o + segment.start]
                    np.minimum(before, o + segment.start, out=before)
        reward, soon = self._scored([relabeller.columns(shard)], stretch_end)
        return _Rows(wide, acted, command, source, span_end + first, stretch_end + first, reward, soon)

    def _scored(
        self, columns: Sequence[tuple[np.ndarray, np.ndarray]], stretch_end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixed reward `[S, N]` and `soon` `[N, S]` from the columns of adjacent shards."""
        sparse = np.float32(self._sampling.sparse)
        reward = np.concatenate([(1 - sparse) * r + sparse * s for r, s in columns], axis=1)
        n_skills, n = reward.shape
        soon = np.empty((n, n_skills), np.uint16)
        rows = np.arange(n)
        for i in range(n_skills):
            success = np.concatenate([s[i] for _, s in columns])
            here = np.where(success, rows, n + FAR)
            following = np.append(np.minimum.accumulate(here[::-1])[::-1][1:], n + FAR)  # next success after the row
            distance = np.where(following <= stretch_end, np.minimum(following - rows, FAR), FAR)
            soon[:, i] = distance.astype(np.uint16) | np.where(success, np.uint16(NOW), np.uint16(0))
        return reward, soon

    def _stratify(self) -> None:
        """Sort transitions into strata: by share of their source and, to balance, by command or by what is achieved."""
        assert self._rows is not None
        position = {c: i for i, c in enumerate(self.captions)}
        # One more at the end, for the -1 of last rows.
        self._skill_of_command = np.array([position.get(c, -1) for c in self._commands] + [-1])
        rows = np.flatnonzero(self._rows.command >= 0).astype(np.int32)
        if self._sampling.only_successes:
            own, at_end = self._skill_of_command[self._rows.command[rows]], self._rows.span_end[rows]
            rows = rows[(own >= 0) & (self._rows.soon[at_end, own] >= NOW)]
            if not len(rows):
                raise LudusError("no command succeeded in any episode; set sampling.only_successes=false")
        shares = self._shares if self._shares is not None else {"": 1.0}
        member = np.array([next((i for i, p in enumerate(shares) if s.startswith(p)), -1) for s in self._sources])
        source = member[self._rows.source[rows]]
        rows, source = rows[source >= 0], source[source >= 0]
        if not len(rows):
            raise LudusError(f"no episode is of a step that starts with one of {list(shares)}")
        balance, commands = self._sampling.balance, self._rows.command[rows]
        self._strata = _Strata(rows, source, commands if balance else np.zeros_like(commands), balance, shares)
        self._achieved = None
        if self._sampling.balance_hindsight:
            soon = (self._rows.soon[rows] & FAR) <= self._sampling.horizon
            place, skill = np.nonzero(soon)
            if len(place):
                self._achieved = _Strata(rows[place], source[place], skill, self._sampling.balance_hindsight, shares)


class _Strata:
    """Rows by source and kind. A source is drawn by its share; of its kinds every row alike (`balance` 0) or every kind
    alike (1)."""

    def __init__(
        self, rows: np.ndarray, source: np.ndarray, kind: np.ndarray, balance: float, shares: Mapping[str, float]
    ):
        self._n_kinds = int(kind.max()) + 1
        stratum = source.astype(np.int64) * self._n_kinds + kind
        order = np.argsort(stratum, kind="stable")
        self._names, self._start, self._size = np.unique(stratum[order], return_index=True, return_counts=True)
        weight = self._size ** (1.0 - balance)
        of = self._names // self._n_kinds
        for i, share in enumerate(shares.values()):
            if (of == i).any():
                weight[of == i] *= share / weight[of == i].sum()
        if not weight.sum() > 0:
            raise LudusError(f"all episodes have the share 0 of the draws in {shares}; give one of them more")
        self.rows = rows[order]
        self._ends = np.cumsum(weight / weight.sum())
        self._ends[-1] = 1.0

    def draw(self, draw: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` rows and their kinds: a stratum by its weight, then any row in it."""
        stratum = np.searchsorted(self._ends, draw.random(n), side="right")
        row = self.rows[self._start[stratum] + draw.integers(0, self._size[stratum])]
        return row, self._names[stratum] % self._n_kinds


def _index(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def _put(rows: _Rows, part: _Rows, first: int) -> None:
    for name in _Rows.__dataclass_fields__:
        array = getattr(part, name)
        if name == "reward":
            rows.reward[:, first : first + array.shape[1]] = array
        else:
            getattr(rows, name)[first : first + len(array)] = array
