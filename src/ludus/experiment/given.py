"""A run that begins with the episodes of other runs, collected or imported, in place of seed data.

They are copied, one step per shard: once that is done, the run needs the others no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ludus.data.relabel import outcomes
from ludus.data.store import EpisodeStore
from ludus.experiment.collection import Driver
from ludus.experiment.library import recorded_skills
from ludus.experiment.offline import check_worlds, fingerprint
from ludus.lab.rules import Rules
from ludus.record import Record
from ludus.record.location import BESIDE, found, way
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError

GIVEN_STEP = "given"
"""Step of a record that begins with the episodes of other runs: its result says which."""


def check_given(runs: Sequence[Path]) -> None:
    """
    Raises:
        LudusError: no run there, or none with episodes.
    """
    for run in runs:
        with Record.open(run, write=False) as record:
            if not len(EpisodeStore(record)):
                raise LudusError(f"{run} holds no episodes to begin with; collect or import some first")


def given_step(runs: Sequence[Path], directory: Path) -> dict[str, dict[str, Any]]:
    """The step that a run in `directory` is made with which begins with these runs' episodes; without any, no step. See
    `Record.create`."""
    kept = []
    for run in runs:
        with Record.open(run, write=False) as record:
            store = EpisodeStore(record)
            about = {"episodes": len(store), "shards": len(store.shards()), "checksum": fingerprint(store)}
        kept.append({"run": str(run.resolve()), BESIDE: way(run, directory), **about})
    return {GIVEN_STEP: {"runs": kept}} if kept else {}


@dataclass(frozen=True)
class Given:
    """The runs whose episodes a run begins with."""

    record: Record
    runs: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, record: Record) -> Given | None:
        """Those that the record was begun with, if any."""
        return cls(record, tuple(record.result(GIVEN_STEP)["runs"])) if record.done(GIVEN_STEP) else None

    def library(self, library: SkillLibrary) -> SkillLibrary:
        """With the skills, of those runs, that their episodes were told and that it lacks.

        Raises:
            LudusError: a rule of this run forbids one.
        """
        if self.record.done("begin"):
            return library  # the record has them
        for run in self.runs:
            with self._opened(run) as source:
                told = {segment.caption for row in EpisodeStore(source).rows() for segment in row.segments}
                theirs = [s for s in recorded_skills(source, library.vocabulary) if s.caption in told]
            library = library.add(*[s for s in theirs if s.caption not in library])
        rules = Rules(self.record.config.oversight.forbid, library.vocabulary)
        for skill in library:
            if why := rules.broken(skill.success):
                raise LudusError(
                    f"the given episodes were told {skill.caption!r}: {why}; give others, or change oversight.forbid"
                )
        return library

    def copy(self, driver: Driver, library: SkillLibrary) -> None:
        """Copy the episodes, in steps called `seed-data/000` ..., each with its run's number in its id.

        Raises:
            LudusError: a run that is gone before its episodes were copied, holds others than when this run was begun, or is of
                another world.
        """
        first = 0
        for i, run in enumerate(self.runs):
            steps = [f"seed-data/{first + k:03d}" for k in range(run["shards"])]
            first += run["shards"]
            if all(map(self.record.done, steps)):
                continue
            with self._opened(run) as source:
                store = EpisodeStore(source)
                if fingerprint(store) != run["checksum"]:
                    raise LudusError(
                        f"{source.directory} holds {len(store)} episodes, other than the {run['episodes']} that "
                        f"{self.record.directory} began with; begin another run with them"
                    )
                check_worlds([store], self.record.config, driver.world)
                store.verify()
                self._copy(driver, store, steps, library, i)

    def _copy(self, driver: Driver, store: EpisodeStore, steps: list[str], library: SkillLibrary, number: int) -> None:
        with driver.progress.stage(
            f"seed data: {len(store)} episodes of {store.record.directory}", len(store)
        ) as advance:
            for step, shard in zip(steps, store.shards(), strict=True):
                if not self.record.done(step):
                    with self.record.commit(step):
                        episodes = [store.load(row.id) for row in shard.episodes]
                        episodes = [replace(e, id=f"given-{number}-{e.id}") for e in episodes]
                        driver.store.append(episodes)
                        self.record.add_outcomes(outcomes(library, episodes))
                advance(len(shard.episodes))

    def _opened(self, run: dict[str, Any]) -> Record:
        return Record.open(found(run["run"], run[BESIDE], self.record.directory), write=False)
