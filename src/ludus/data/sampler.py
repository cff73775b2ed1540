"""Batches for the learner: (transition, skill, relabelled n-step return), drawn from all episodes of one or several stores.

The reward of transition t under a skill is that of the observation it leads to, see `ludus.data.labels`. The window of a
transition is up to `n_step` steps. It ends with the *segment* when the label is the command the transition was collected
under (later steps follow another command), else with the *trajectory*: at the end of the episode, or where
something was moved from outside (`Segment.reset`), for which no action is rewarded. The discount is gamma^steps, as nothing of
this is terminal; it is 0 where the window reaches the end of an episode that the world ended (docs/method.md, section 5).

Batch i is drawn by the named child seed (seed, 'batch', i): so the cursor is one number, and batches do not depend on
when the sampler was made or refreshed, only on what the store holds when they are drawn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ludus.config import AgentConfig, SamplingConfig
from ludus.data.labels import FAR, SUCCEEDED_NOW, Focus, draw_labels
from ludus.data.relabel import Relabeller
from ludus.data.rows import RowTable
from ludus.data.store import EpisodeStore, Shard
from ludus.seeding import rng
from ludus.skills.library import SkillLibrary
from ludus.types import Batch, LudusError, Observations


@dataclass(frozen=True)
class Drawn:
    """A `Batch` whose observations and actions are not yet looked up."""

    rows: np.ndarray  # [B] int32: of the observations and actions
    next_rows: np.ndarray  # [B] int32: of the next observations
    returns: np.ndarray  # [B] float32, as the following are of `Batch`
    discounts: np.ndarray  # [B] float32
    skills: np.ndarray  # [B] int64
    bc_mask: np.ndarray  # [B] bool


class Sampler:
    """Draws `Batch`es. Needs about 4 (D + A + S) + 2 S bytes per transition: 0.3 GB for 500,000 transitions of three
    blocks under 40 skills. An image needs as many bytes as it has, once: `sampling.memory=mapped` keeps them in files.

    Args:
        stores: one, or several of the same world; then a source is called `<place of the store>/<collecting step>`.
        agent: gives gamma, n_step and batch_size, see `AgentConfig.per_step`.
        sampling: ratios of the labels; the reward's mix; `horizon` and `balance`.
        seed: the run's seed.
        shares: prefix of collecting steps -> share of the draws, e.g. {'seed-data': 0.5, 'round': 0.5}; by default
            every transition is as likely as any other. Episodes of no prefix are left out.
        folder: where mapped transitions lie; by default the system's folder for temporary files.

    Raises:
        LudusError: an empty store, stores of different worlds, observations or actions that are not finite, no room in
            `folder`.
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
        if not agent.n_step:
            raise LudusError("a sampler needs its n-step returns in control steps; give it agent.per_step(control_hz)")
        self.batch_size = agent.batch_size
        self._stores = [stores] if isinstance(stores, EpisodeStore) else list(stores)
        self._library = library
        self._gamma = np.float32(agent.gamma) ** np.arange(agent.n_step + 1, dtype=np.float32)
        self._n_step = agent.n_step
        self._sampling = sampling
        self._seed = seed
        self._shares = dict(shares) if shares is not None else None
        self._batches = 0
        self._focus: list[tuple[np.ndarray, float]] = []  # skills, their share of the labels
        self._shards: list[tuple[int, Shard]] = []  # place of the store, shard
        self._table = RowTable(sampling, folder or Path(tempfile.gettempdir()))
        self.refresh()
        if not self._table.n:
            where = ", ".join(str(s.record.directory) for s in self._stores)
            raise LudusError(f"{where} holds no episodes to sample; collect some first")

    @property
    def captions(self) -> tuple[str, ...]:
        """What `Batch.skills` indexes; grows with the library."""
        return tuple(self._library.captions)

    @property
    def n_transitions(self) -> int:
        """Transitions that can be drawn."""
        return len(self._strata.rows)

    @property
    def n_rows(self) -> int:
        """Rows that `Drawn` may name: 0 to n_rows - 1, each of them always the same observation."""
        return self._table.n

    def state(self) -> dict[str, int]:
        """The cursor: JSON."""
        return {"batches": self._batches}

    def restore(self, state: Mapping[str, int]) -> None:
        """Continue where `state` was taken, given the same store and library."""
        self._batches = int(state["batches"])

    # --- drawing -----------------------------------------------------------------------------------------------

    def next(self) -> Batch:
        """The next batch; fresh arrays."""
        drawn = self.draw()
        return Batch(
            observations=self.observations(drawn.rows),
            actions=self.actions(drawn.rows),
            next_observations=self.observations(drawn.next_rows),
            returns=drawn.returns,
            discounts=drawn.discounts,
            skills=drawn.skills,
            bc_mask=drawn.bc_mask,
        )

    def observations(self, rows: np.ndarray) -> Observations:
        """Group -> `[n, *shape]` of these n rows, copied."""
        return self._table.observations(rows)

    def actions(self, rows: np.ndarray) -> np.ndarray:
        """`[n, A]` float32 of these n rows, copied; zeros for the last observations of episodes."""
        return self._table.rows.actions.take(rows, axis=0)

    def draw(self) -> Drawn:
        """The next batch, as the rows that it consists of."""
        draw = rng(self._seed, "batch", self._batches)
        self._batches += 1
        rows = self._table.rows
        row, _ = self._strata.draw(draw, self.batch_size)
        commanded = self._skill_of_command[rows.command[row]]
        skill, hindsight = draw_labels(draw, rows.steps_to_success[row], commanded, self._sampling, self._focus)
        if self._hindsight is not None:
            row[hindsight], skill[hindsight] = self._hindsight.draw(draw, int(hindsight.sum()))
            commanded = self._skill_of_command[rows.command[row]]
        is_command = skill == commanded
        end = np.where(is_command, rows.segment_end[row], rows.trajectory_end[row])
        n = np.minimum(end - row, self._n_step)
        ahead = np.arange(self._n_step)
        inside = ahead < n[:, None]
        reached = np.minimum(row[:, None] + 1 + ahead, end[:, None])
        rewards = rows.reward[skill[:, None], reached]
        returns = np.where(inside, rewards, 0) @ self._gamma[:-1]
        return Drawn(
            rows=row,
            next_rows=row + n,
            returns=returns,
            discounts=np.where(rows.terminal[row + n], np.float32(0), self._gamma[n]),
            skills=skill,
            bc_mask=self._cloned(row, skill, is_command, hindsight, end),
        )

    def _cloned(
        self, row: np.ndarray, skill: np.ndarray, is_command: np.ndarray, hindsight: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """`[B]` bool: which rows behaviour cloning imitates, see `sampling.bc_labels`."""
        cloned = hindsight if self._sampling.bc_labels == "hindsight" else is_command
        if not self._focus:
            return cloned
        in_time = (self._table.rows.steps_to_success[row, skill] & FAR) <= end - row
        focused = np.concatenate([skills for skills, _ in self._focus])
        return np.where(np.isin(skill, focused), (is_command | hindsight) & in_time, cloned)

    # --- loading -----------------------------------------------------------------------------------------------

    def refresh(self, library: SkillLibrary | None = None, focus: Sequence[Focus] = ()) -> None:
        """Take in what the store holds by now, and the skills that `library` has more. Both are appended to what is there.

        Args:
            focus: shares of the labels of each kind, for skills that there are rows for.

        Raises:
            LudusError: `library` does not begin with the skills known before (labels would change their meaning); shares
                that sum to more than 1.
        """
        old = [s.hash for s in self._library]
        library = library or self._library
        new = [s.hash for s in library]
        if new[: len(old)] != old:
            raise LudusError("the sampler's library may only grow at its end; make a new Sampler for another library")
        relabellers = [Relabeller(s, library) for s in self._stores]
        if len(new) > len(old) and self._table.n:
            added = tuple(library.captions)[len(old) :]
            self._table.add_skills([relabellers[k].columns(s, added) for k, s in self._shards])
        self._library = library
        if (total := sum(f.share for f in focus)) > 1:
            raise LudusError(
                f"shares of the labels sum to {total:g}, more than 1; lower sampling.focus or experiment.rehearsal"
            )
        groups = [(np.flatnonzero([c in f.captions for c in library.captions]), f.share) for f in focus]
        self._focus = [(skills, share) for skills, share in groups if len(skills)]
        known = {(k, s.name) for k, s in self._shards}
        fresh = [(k, s) for k, store in enumerate(self._stores) for s in store.shards() if (k, s.name) not in known]
        self._check_worlds(fresh)
        room = sum(s.n_steps + len(s.episodes) for _, s in fresh)
        for k, shard in fresh:
            held = self._table.n
            prefix = "" if len(self._stores) == 1 else f"{k}/"
            self._table.extend(self._stores[k], shard, relabellers[k], prefix, room)
            self._shards.append((k, shard))
            room -= self._table.n - held
        if self._table.n:
            self._stratify()

    def _check_worlds(self, fresh: Sequence[tuple[int, Shard]]) -> None:
        worlds = {e.world: self._stores[k].record.directory for k, s in [*self._shards, *fresh] for e in s.episodes[:1]}
        if len(worlds) > 1:
            where = " and ".join(f"{d} ({w})" for w, d in worlds.items())
            raise LudusError(f"{where} hold episodes of different worlds, which do not mix; train on one of them")

    def _stratify(self) -> None:
        """Sort transitions into strata: by share of their source and, to balance, by command or by what is achieved."""
        table, held = self._table, self._table.rows
        position = {c: i for i, c in enumerate(self.captions)}
        # One more at the end, for the -1 of last rows.
        self._skill_of_command = np.array([position.get(c, -1) for c in table.commands] + [-1])
        rows = np.flatnonzero(held.command[: table.n] >= 0).astype(np.int32)
        if self._sampling.only_successes:
            commanded, at_end = self._skill_of_command[held.command[rows]], held.segment_end[rows]
            rows = rows[(commanded >= 0) & (held.steps_to_success[at_end, commanded] >= SUCCEEDED_NOW)]
            if not len(rows):
                raise LudusError("no command succeeded in any episode; set sampling.only_successes=false")
        shares = self._shares if self._shares is not None else {"": 1.0}
        member = np.array([next((i for i, p in enumerate(shares) if s.startswith(p)), -1) for s in table.sources])
        source = member[held.source[rows]]
        rows, source = rows[source >= 0], source[source >= 0]
        if not len(rows):
            raise LudusError(f"no episode is of a step that starts with one of {list(shares)}")
        balance, commands = self._sampling.balance, held.command[rows]
        focused = [(np.isin(self._skill_of_command[commands], skills), share) for skills, share in self._focus]
        kinds = commands if balance or focused else np.zeros_like(commands)
        self._strata = _Strata(rows, source, kinds, balance, shares, focused)
        self._hindsight = None
        if self._sampling.balance_hindsight or self._focus:
            near = (held.steps_to_success[rows] & FAR) <= self._sampling.horizon
            place, skill = np.nonzero(near)
            if len(place):
                balance = self._sampling.balance_hindsight
                focused = [(np.isin(skill, skills), share) for skills, share in self._focus]
                self._hindsight = _Strata(rows[place], source[place], skill, balance, shares, focused)


class _Strata:
    """Rows by source and kind. A source is drawn by its share; of its kinds every row alike (`balance` 0) or every kind
    alike (1). Kinds in a focus are then drawn with its share, all together; `focus` says which rows these are."""

    def __init__(
        self,
        rows: np.ndarray,
        source: np.ndarray,
        kind: np.ndarray,
        balance: float,
        shares: Mapping[str, float],
        focus: Sequence[tuple[np.ndarray, float]],
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
        groups = [(mask[order][self._start], share) for mask, share in focus]
        groups = [(chosen, share) for chosen, share in groups if share and weight[chosen].sum() > 0]
        others = ~np.logical_or.reduce([chosen for chosen, _ in groups]) if groups else np.ones(0, bool)
        if groups and weight[others].sum() > 0:
            weight[others] *= (1 - sum(share for _, share in groups)) / weight[others].sum()
            for chosen, share in groups:
                weight[chosen] *= share / weight[chosen].sum()
        self.rows = rows[order]
        self._ends = np.cumsum(weight / weight.sum())
        self._ends[-1] = 1.0

    def draw(self, draw: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` rows and their kinds: a stratum by its weight, then any row in it."""
        stratum = np.searchsorted(self._ends, draw.random(n), side="right")
        row = self.rows[self._start[stratum] + draw.integers(0, self._size[stratum])]
        return row, self._names[stratum] % self._n_kinds
