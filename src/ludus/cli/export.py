"""`ludus export`: a run for other people's tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ludus.cli.common import Finds, check_writable, opened_run, writing
from ludus.types import LudusError
from ludus.views import display

if TYPE_CHECKING:
    from rich.console import Console

    from ludus.record import Record
    from ludus.worlds.base import World

EPISODES = ("lerobot", "minari", "rerun")
"""Formats of episodes."""
PLACES = "DIRECTORY (for TensorBoard's event files), lerobot DIRECTORY, minari ID and rerun DIRECTORY"
"""What can be given."""


@dataclass(frozen=True)
class Export(Finds):
    """Write a run's metrics and learning curves as TensorBoard event files, its episodes as a dataset of LeRobot (v3.0) or
    Minari, or as recordings that Rerun shows, or its policy as one file."""

    where: tyro.conf.Positional[tuple[Path, ...]] = ()
    """DIRECTORY for TensorBoard's event files; `lerobot DIRECTORY`, `minari ID`, such as `minari blocks/teacher-v0`, or `rerun
    DIRECTORY` for the episodes. Directories are new or empty."""
    skill: str = ""
    """For Rerun: only episodes in which this was commanded."""
    phase: str = ""
    """For Rerun: only those that were collected for this, such as seed-data or round/1/collect."""
    result: Literal["", "success", "failure"] = ""
    """For Rerun: only those in which the skill (without --skill: any attempt) ended so."""
    episodes: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """For Rerun: at most so many, the latest."""
    pictures: bool = False
    """For Rerun: with rendered pictures; needs OpenGL, and a second or more per episode."""
    policy: Path | None = None
    """Write the best policy, with its skills, to this file: for `ludus do --policy FILE`."""
    run: Path | None = None
    """The run directory; the latest under runs/ if not given."""

    def __call__(self) -> None:
        kind, *more = map(str, self.where) if self.where else ("",)
        if not kind and self.policy is None:
            raise LudusError(f"nothing to export; give --policy FILE, or one of {PLACES}")
        if (kind in EPISODES) != (len(more) == 1) or len(more) > 1:
            raise LudusError(f"{' '.join(map(str, self.where))!r} is none of {PLACES}; give one of these")
        chosen = self.skill, self.phase, self.result, self.episodes, self.pictures
        if kind != "rerun" and chosen != ("", "", "", None, False):
            raise LudusError(
                "--skill, --phase, --result, --episodes and --pictures go with rerun DIRECTORY; leave them out"
            )
        if self.episodes is not None and self.episodes < 1:
            raise LudusError(f"--episodes {self.episodes}: give 1 or more")
        console = display.console()
        with opened_run(self.run, self.record) as record:
            if kind in EPISODES:
                self._episodes(record, kind, more[0], console)
            elif kind:
                self._events(record, Path(kind), console)
            if self.policy is not None:
                self._policy(record, self.policy, console)

    def _events(self, record: Record, directory: Path, console: Console) -> None:
        from ludus.experiment.library import recorded_library
        from ludus.record.files import typed
        from ludus.views.tensorboard import tensorboard
        from ludus.worlds.registry import make_world

        world = make_world(record.config.world, look=True)
        try:
            with writing(directory):
                n = tensorboard(record, recorded_library(record, world), directory)
        finally:
            world.close()
        console.print(f"{n} points; look at them with: tensorboard --logdir {typed(directory)}")

    def _episodes(self, record: Record, kind: str, where: str, console: Console) -> None:
        from ludus.experiment.exporting import export_lerobot, export_minari
        from ludus.record.files import typed
        from ludus.worlds.registry import make_world

        world = make_world(record.config.world, look=True)
        try:
            with writing(Path(where)):
                if kind == "rerun":
                    n = self._recordings(record, world, Path(where))
                    read = f"look at them with: rerun {typed(where)}/*.rrd"
                elif kind == "lerobot":
                    n, read = export_lerobot(record, world, Path(where)), f"a LeRobot dataset (v3.0) in {typed(where)}"
                else:
                    n, place = export_minari(record, world, where)
                    read = f"minari.load_dataset({where!r}), in {typed(place)}"
        finally:
            world.close()
        console.print(f"{n} episodes: {read}")

    def _recordings(self, record: Record, world: World, directory: Path) -> int:
        from ludus.experiment.library import recorded_library
        from ludus.views.queries import EpisodesWanted
        from ludus.views.rerun import Wanted, write_recordings

        wanted = Wanted(EpisodesWanted(self.skill, self.phase, self.result), self.episodes, self.pictures)
        return write_recordings(record, world, recorded_library(record, world), directory, wanted)

    def _policy(self, record: Record, path: Path, console: Console) -> None:
        from ludus.experiment.policy_file import TrainedPolicy
        from ludus.record.files import typed

        check_writable(path)
        trained = TrainedPolicy.of_record(record)
        with writing(path):
            trained.write(path)
        console.print(f"{len(trained.skills)} skills; tell it what to do with: ludus do --policy {typed(path)}")
