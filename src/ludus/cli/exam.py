"""`ludus exam`: does an experimenter do its job well?"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console

from ludus.cli.common import (
    RUNS,
    Keeps,
    Many,
    Overrides,
    check_writable,
    command_line,
    listed,
    play_all,
    say,
    terminal,
    writing,
)
from ludus.views import display

if TYPE_CHECKING:
    from ludus.config import Config
    from ludus.exam.metrics import Result
    from ludus.experimenter.roles import Experimenter
    from ludus.skills.vocabulary import Vocabulary


@dataclass(frozen=True)
class Exam(Keeps):
    """Examine an experimenter: does it propose, decompose, retrieve, analyse and write skills well? See docs/exam.md."""

    name: tyro.conf.Positional[str]
    """Who plays all roles: planner, random, oracle, human, agent or a model, as in `ludus run --experimenter`."""
    overrides: Overrides = ()
    """Settings of the experimenter to change, e.g. experimenter.analyse=random."""
    parts: Many = ()
    """Of propose, decompose, retrieve, analyse and write; all if not given."""
    limit: int | None = None
    """Questions per part, the same for every examinee; all if not given."""
    json: Path | None = None
    """File to write all numbers and answers to."""
    plot: Path | None = None
    """File for the picture; scorecard.png in the directory if not given."""
    dir: Path | None = None
    """Where pictures and a model's answers go; runs/exam-NAME if not given. The same exam there again asks the model only
    what it has not answered yet."""
    pictures: bool = True
    """Draw the scenes and curves that the questions refer to."""
    seed: int = 0
    """Of the choice of questions, of the examinee and of the robots' noise."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.exam import draw, scorecard
        from ludus.experiment.compose import check

        roles = play_all(self.name)
        config = configs.override(configs.preset("cpu"), (*roles, *self.overrides, f"seed={self.seed}"))
        say(display.console(), check(config))
        folder = self.dir or RUNS / f"exam-{re.sub(r'[^A-Za-z0-9.-]+', '-', self.name)}"
        title, plot, console = " ".join((self.name, *self.overrides)), self.plot, display.console()
        for path in filter(None, (self.json, plot)):
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            check_writable(path)
        results = self._evaluate(config, folder, console)
        plot = plot or folder / "scorecard.png"
        try:  # the numbers cost hours: each place gets them, whatever became of the others
            if self.json is not None:
                with writing(self.json):
                    self.json.write_text(dumps(scorecard.as_json(title, config.seed, self.limit, results), indent=1))
            with writing(plot):
                plot.parent.mkdir(parents=True, exist_ok=True)
                plot.write_bytes(draw.scorecard_picture(title, results))
        finally:
            console.print(f"ludus exam: {title}")
            console.print(scorecard.table(results))
            say(console, filter(None, [scorecard.unanswered(results)]))
        for path in filter(None, (self.json, plot)):
            console.print(str(path))

    def _evaluate(self, config: Config, folder: Path, console: Console) -> list[Result]:
        from ludus.exam import questions, scorecard
        from ludus.experiment.opening import opened
        from ludus.experimenter import asks_others, assemble
        from ludus.experimenter.context import RoleContext
        from ludus.experimenter.ledger import Ledger, NullCalls
        from ludus.lab.mailbox import RoomMailbox
        from ludus.record import Progress, Record

        shown = folder if self.pictures else None
        spec = scorecard.ExamSpec(listed("--parts", self.parts), self.limit, config.seed, shown, config.world.threads)
        keeps = asks_others(config.experimenter)  # only answers that cost something are kept
        with (
            # an answer is known by all that it depends on: with other settings only what they change is asked again
            opened(folder, config, self.record, {"budget", "experimenter"}, command_line())
            if keeps
            else nullcontext(NullCalls()) as calls,
            terminal(console, "the same command" if keeps else None) as shell,
            ExitStack() as stages,
        ):
            progress, ledger = (
                Progress(None, shell.show),
                Ledger(calls, config.budget, max_concurrency=config.experimenter.max_concurrency),
            )
            truth = questions.load().truth
            mailbox = RoomMailbox(calls, progress, config.experimenter.answer_s) if isinstance(calls, Record) else None

            def make(vocabulary: Vocabulary) -> Experimenter:
                picture = lambda path: (folder / path).read_bytes()  # noqa: E731
                context = RoleContext(vocabulary, config.seed, config.experimenter, ledger, picture, shell.person)
                return assemble(replace(context, truth=truth, mailbox=mailbox))

            def begin(part: str, n: int) -> Callable[[], None]:
                stages.close()  # of the part before
                return partial(stages.enter_context(progress.stage(part, n)), 1)

            return scorecard.evaluate(make, spec, begin)
