"""`ludus collect`: episodes without training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ludus.cli.common import Keeps, Many, Overrides, command_line, listed, terminal
from ludus.types import LudusError
from ludus.views import display


@dataclass(frozen=True)
class Collect(Keeps):
    """Collect episodes without training, into a new run directory or one more time into an old one."""

    dir: tyro.conf.Positional[Path]
    """Where the episodes are kept."""
    overrides: Overrides = ()
    """Settings to change, e.g. seed_data.segments=1 seed_data.random_share=0."""
    actor: str | None = None
    """teacher (its noise is in seed_data.*), random, policy, play (data as the world's makers collect it: ogbench), or
    play-hindsight (the same, with the commands forgotten and others found in what happened); seed_data.actor if not given."""
    policy: Path | None = None
    """With --actor policy: the run whose best policy acts."""
    episodes: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """How many; seed_data.episodes if not given."""
    skills: Many = ()
    """Captions, or templates such as 'stack X on Y' or 'stack _ on _'; the base library if not given."""
    noise: str | None = None
    """LEVEL or MIN-MAX of every episode of the teacher, e.g. 0.3-0.6: then none is clean and none random."""
    temperature: float | None = None
    """Of the acting policy; experiment.temperature if not given."""
    start: str | None = None
    """Start distribution: scattered, held, stacked, beside or drifting."""
    name: str | None = None
    """Names this collection; the actor's name if not given. The same command goes on where it stopped, another name
    collects further episodes."""
    library: Path | None = None
    """A library file: its skills in place of the world's base skills."""
    preset: str = "cpu"
    """Where the configuration starts from."""
    seed: int = 0
    """The only source of randomness."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.experiment.collection import CollectSpec, collect, seed_actor
        from ludus.experiment.library import check_library, library_step
        from ludus.experiment.opening import opened
        from ludus.skills.files import read_skills
        from ludus.views.terminal import success_table
        from ludus.worlds.registry import world_kind

        config = configs.override(
            configs.preset(self.preset), (*self.overrides, *self._settings(), f"seed={self.seed}")
        )
        actor = self.actor or seed_actor(world_kind(config.world), config)
        self._check(actor)
        name = self.name or actor
        skills = None if self.library is None else read_skills(self.library)
        spec = CollectSpec(actor, name, listed("--skills", self.skills), self.start, self.policy)
        console = display.console()
        free = {"seed_data", "experiment", "seed", "training"}
        with opened(self.dir, config, self.record, free, command_line(), library_step(skills)) as record:
            check_library(record, skills)
            with terminal(console, "the same command") as shown:
                counts = collect(record, config, spec, shown.show)
            console.print(success_table(f"{self.dir}, {name}: what the data itself does", counts))

    def _settings(self) -> list[str]:
        """The options as settings."""
        settings = [] if self.episodes is None else [f"seed_data.episodes={self.episodes}"]
        settings += [] if self.temperature is None else [f"experiment.temperature={self.temperature}"]
        return settings + ([] if self.noise is None else _noise(self.noise))

    def _check(self, actor: str) -> None:
        """Refuse what is another actor's."""
        if self.noise is not None and actor != "teacher":
            raise LudusError(f"--noise is the teacher's; leave it out with --actor {actor}")
        if self.temperature is not None and actor != "policy":
            raise LudusError(f"--temperature is an acting policy's; leave it out with --actor {actor}")


def _noise(text: str) -> list[str]:
    """Settings for '0.3' or '0.3-0.6'."""
    match = re.fullmatch(r"([0-9.]+)(?:-([0-9.]+))?", text)
    if not match:
        raise LudusError(f"--noise {text!r} is neither a level such as 0.3 nor a range such as 0.3-0.6")
    low, high = match[1], match[2] or match[1]
    return [f"seed_data.{x}" for x in (f"min_noise={low}", f"max_noise={high}", "clean_share=0", "random_share=0")]
