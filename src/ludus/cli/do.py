"""`ludus do`: tell a trained robot what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ludus.cli.common import check_writable, play_all, say, terminal, writing
from ludus.types import LudusError
from ludus.views import display

if TYPE_CHECKING:
    from rich.console import Console

    from ludus.config import Config
    from ludus.experiment.instruction import Robot

MEANT = ("world.n_blocks=", "experimenter.", "budget.", "seed=")
"""Settings that an instruction depends on."""


@dataclass(frozen=True)
class Do:
    """Tell a trained robot what to do and look at a film of it; without words, say what it can be told."""

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """What to do, e.g. "put red on green, then blue on red"."""
    overrides: tyro.conf.Suppress[tuple[str, ...]] = ()
    policy: Path | None = None
    """A run directory, or a file that `ludus export --policy FILE` wrote; the policy that comes with ludus if not given."""
    experimenter: str | None = None
    """Who makes a plan of the words: planner (if not given), or a model as for `ludus run`."""
    seed: int = 0
    """Of the scene, and of the policy's draws."""
    film: Path = Path("do.gif")
    """Where to write the film."""

    def __call__(self) -> None:
        from ludus.experiment.instruction import Robot
        from ludus.experiment.policy_file import SHIPPED, TrainedPolicy
        from ludus.views import instructions

        config, console, words = self._config(), display.console(), " ".join(self.words)
        trained, n_blocks = TrainedPolicy.of(self.policy or SHIPPED), self._n_blocks(config)
        with terminal(console, None) as shell, Robot(trained, n_blocks) as robot:
            if not words.strip():
                instructions.print_skills(robot.library, trained.counts, robot.world.spec.objects, console)
                return
            self._check_film()
            plan = robot.plan(words, self.seed, config.experimenter, config.budget, shell.person)
            instructions.print_plan(plan, console)
            done = robot.carry_out(plan, self.seed)
            instructions.print_steps(done, console)
            self._film(robot, done, console)
        if not done.success:
            raise SystemExit(1)

    def _config(self) -> Config:
        from ludus import config as configs
        from ludus.experiment.compose import check

        for changed in self.overrides:
            if not changed.startswith(MEANT):
                raise LudusError(f"{changed} changes nothing of an instruction; give settings of {', '.join(MEANT)}")
        roles = [] if self.experimenter is None else play_all(self.experimenter)
        config = configs.override(configs.Config(), (*roles, *self.overrides, f"seed={self.seed}"))
        say(display.console(), check(config, reach=True))
        return config

    def _check_film(self) -> None:
        if self.film.suffix.lower() not in ("", ".gif"):
            raise LudusError(f"--film {self.film}: films are GIFs; give {self.film.with_suffix('.gif')}")
        check_writable(self.film)

    def _n_blocks(self, config: Config) -> int | None:
        return config.world.n_blocks if any(s.startswith("world.n_blocks=") for s in self.overrides) else None

    def _film(self, robot: Robot, done, console: Console) -> None:
        from ludus.views import instructions
        from ludus.views.figures import episode_film

        try:
            film = episode_film(done.episode, robot.world)
        except LudusError as error:
            console.print(f"No film: {error}.")
            instructions.print_facts(done, console)
            return
        with writing(self.film):
            self.film.write_bytes(film)
        console.print(f"Film: {self.film}")
