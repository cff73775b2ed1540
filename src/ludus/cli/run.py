"""`ludus run`: an experiment, from seed data to report."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ludus.cli.common import RUNS, Keeps, Overrides, command_line, play_all, say, terminal
from ludus.types import LudusError
from ludus.views import display

if TYPE_CHECKING:
    from ludus.config import Config
    from ludus.record import Record


@dataclass(frozen=True)
class Run(Keeps):
    """Start an experiment, from seed data to report."""

    overrides: Overrides = ()
    """Settings to change, e.g. experiment.rounds=5 world.n_blocks=4 (see src/ludus/config/)."""
    experimenter: str | None = None
    """Who plays all roles: planner, random, oracle, human, agent (a coding agent, see `ludus mcp`), a model such as openai:...,
    google:..., anthropic:... or ollama:..., or the address of an OpenAI-compatible server, http://host:port/v1#model. One role:
    experimenter.analyse=... ."""
    replay: Path | None = None
    """A run whose recorded answers stand in for the model, where they fit."""
    strict: bool = False
    """With --replay: never ask the model; a question without a fitting recording is an error."""
    preset: str = "cpu"
    """cpu (7 to 14 minutes on two cores) or tiny (under a minute, learns little)."""
    seed: int = 0
    """The only source of randomness."""
    dir: Path | None = None
    """Where the run is kept; a new folder under runs/ if not given."""
    data: tyro.conf.UseAppendAction[tuple[tuple[Path, ...], ...]] = ()
    """Run directories with whose episodes it begins, collected or imported, in place of seed data of its own."""
    library: Path | None = None
    """A library file (`ludus skills RUN --export FILE`): start from its skills in place of the world's base skills."""
    serve: bool = False
    """Show the run as a page while it goes on, see `ludus serve`; the address is printed, and the page ends with the run."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.experiment.compose import check, replay_step
        from ludus.experiment.given import check_given, given_step
        from ludus.experiment.library import library_step
        from ludus.experiment.opening import created, fresh_directory
        from ludus.record import Record
        from ludus.skills.files import read_skills

        if self.serve:
            from ludus.views.page import beside

            beside.check()
        if self.replay is not None:
            with Record.open(self.replay, write=False) as recorded:
                if not recorded.calls():
                    raise LudusError(f"{self.replay} holds no calls to replay; it was run without a model")
        elif self.strict:
            raise LudusError("--strict goes with --replay RUN, the run whose answers are taken")
        roles = [] if self.experimenter is None else play_all(self.experimenter)
        config = configs.override(configs.preset(self.preset), (*roles, *self.overrides, f"seed={self.seed}"))
        # an unknown world or model, or a wrong key, makes no directory
        say(display.console(), check(config, reach=self.replay is None))
        skills = None if self.library is None else read_skills(self.library)
        given = [run for several in self.data for run in several]
        check_given(given)
        directory = self.dir or fresh_directory(RUNS, self._name())
        steps = library_step(skills) | given_step(given, directory)
        if self.replay is not None:
            steps |= replay_step(self.replay, self.strict, directory)
        how = {"url": self.record, "command": command_line(), "steps": steps, "fresh": self.dir is None}
        with created(directory, config, **how) as record:
            carry_out(record, serve=self.serve)

    def _name(self) -> str:
        preset = re.sub("[^A-Za-z0-9-]+", "-", self.preset)
        return f"{datetime.now():%Y-%m-%d-%H%M%S}-{preset}-seed{self.seed}"


def carry_out(record: Record, config: Config | None = None, serve: bool = False) -> None:
    """Run or continue the record's experiment and write its report; with its page beside it, if asked for."""
    from ludus.experiment import loop
    from ludus.experiment.compose import compose
    from ludus.record.files import typed
    from ludus.views import queries, text
    from ludus.views.page.beside import page_beside
    from ludus.views.report import write_report

    console = display.console()
    with (
        terminal(console, f"ludus resume {typed(record.directory)}") as shown,
        page_beside(record.directory, console.print, record.secrets) if serve else nullcontext(),
        compose(record, config, shown.person, shown.show) as experiment,
    ):
        library = loop.run(experiment)
        with experiment.progress.stage("writing the report", 1):
            report = write_report(record, experiment.world, library)
    console.print(text.clean(text.first_line(queries.conclusion(record))), markup=False, highlight=False)
    console.print(f"More rounds: {text.more_rounds(queries.run_header(record))}", markup=False, highlight=False)
    console.print(f"Report: {report}")
