"""`ludus train`: learning from the episodes of other runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.cli.common import Keeps, Many, Overrides, command_line, listed, numbers, say, terminal
from ludus.types import LudusError
from ludus.views import display


@dataclass(frozen=True)
class Train(Keeps):
    """Train offline on the episodes of other runs. The same command, or `ludus resume`, goes on where it stopped.
    `torchrun --nproc-per-node 4 -m ludus.cli train ...` shares the work between four processes, on a GPU each or on
    CPUs; with training.sharded=true each of them holds a fourth of the networks and of the optimiser."""

    dir: tyro.conf.Positional[Path]
    """A new run directory for the trainer, its curves and checkpoints."""
    overrides: Overrides = ()
    """Settings to change, e.g. training.updates=20000 training.minutes=15 agent.alpha=1."""
    data: tyro.conf.UseAppendAction[tuple[tuple[Path, ...], ...]] = ()
    """Run directories whose episodes to learn from."""
    weights: Many = ()
    """Share of the draws from each; by their sizes if not given."""
    skills: Many = ()
    """Captions or templates to teach besides those of the data."""
    hold_out: Many = ()
    """Captions or templates that are never used as a label."""
    init: Path | None = None
    """Run whose weights to start from (the number of objects may differ)."""
    library: Path | None = None
    """A library file: teach its skills, besides those of the data, in place of the world's base skills."""
    preset: str = "cpu"
    """Where the configuration starts from; several are joined by commas, e.g. cpu,bc."""
    seed: int = 0
    """The only source of randomness."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.agents.backends import process_group
        from ludus.experiment import compose, offline
        from ludus.experiment.library import check_library, library_step
        from ludus.experiment.opening import opened
        from ludus.record import Record
        from ludus.record.files import typed
        from ludus.skills.files import read_skills
        from ludus.views.terminal import success_table

        runs = self.runs()
        for run in [*runs, *([] if self.init is None else [self.init])]:
            Record.open(run, write=False).close()
        config = configs.override(configs.preset(self.preset), (*self.overrides, f"seed={self.seed}"))
        say(display.console(), compose.check(config))
        skills = None if self.library is None else read_skills(self.library)
        spec = offline.OfflineSpec(
            tuple(map(str, runs)),
            numbers("--weights", self.weights),
            listed("--skills", self.skills),
            listed("--hold-out", self.hold_out),
            None if self.init is None else str(self.init),
        ).resolved()
        try:
            if process_group.launched() and process_group.init(config.training.device) > 0:
                offline.run_worker(config, spec, skills)
                return
            steps = spec.step(self.dir) | library_step(skills)
            with opened(self.dir, config, self.record, command=command_line(), steps=steps) as record:
                offline.check_same(record, spec)
                check_library(record, skills)
                console = display.console()
                with terminal(console, f"ludus resume {typed(record.directory)}") as shown:
                    counts = offline.train(record, config, shown.person, shown.show)
                console.print(success_table(f"{record.directory}: the last point of the curves", counts))
        finally:
            process_group.shutdown()

    def runs(self) -> list[Path]:
        """Those to learn from.

        Raises:
            LudusError: none is given.
        """
        runs = [run for several in self.data for run in several]
        if not runs:
            raise LudusError("nothing to learn from; give --data RUN, a run directory with episodes")
        return runs
