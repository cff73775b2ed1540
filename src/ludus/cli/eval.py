"""`ludus eval`: success of a policy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from ludus.cli.common import (
    Finds,
    Many,
    Overrides,
    check_writable,
    listed,
    numbers,
    opened_run,
    terminal,
    writing,
)
from ludus.types import LudusError
from ludus.views import display

MEASURING = ("world.", "training.evaluation_temperature=", "training.threads=")
"""Settings that a measurement depends on, or how it is computed."""


@dataclass(frozen=True)
class Eval(Finds):
    """Measure a run's best policy: success per template and per skill with 95 % Wilson intervals."""

    dir: tyro.conf.Positional[Path | None] = None
    """The run directory; the latest under runs/ if not given."""
    overrides: Overrides = ()
    """Settings to change for the measurement, e.g. world.n_blocks=5."""
    skills: Many = ()
    """Captions or templates to measure; all skills of the run if not given."""
    episodes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100
    """Episodes per skill, start and temperature."""
    start: Many = ()
    """Start distributions, or all; the world's first if not given. Of blocks: scattered, held, stacked, beside, drifting."""
    temperature: Many = ()
    """0 acts greedily, 1 samples from the policy; several may be given. The run's own, 0.33, if none is."""
    plan: Many = ()
    """Captions to carry out in sequence in each episode, e.g. "stack green on red; stack blue on green"; --skills then
    names what the last state is judged by, the plan's last skill if not given. With loops and branches:
    "repeat until on(red, green) at most 3 times { open the gripper; stack red on green }", "if held(red) { ... } else
    { ... }"."""
    switching: Literal["fixed", "conditional"] = "fixed"
    """Of a plan: each skill lasts its declared steps, or until success, stall or time limit."""
    library_of: int | None = None
    """Only skills about the first so many objects, e.g. those of a policy's training among more blocks."""
    goals: bool = False
    """Measure the world's own task, that all of its skills hold at once (ogbench): the policy is told whichever is next
    until an episode's end."""
    seed: int = 1
    """Seed of the starts; never one of the training's, which have other names."""
    json: Path | None = None
    """File to write all numbers to."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.experiment import evaluation

        spec = self._spec()
        if self.json is not None:
            check_writable(self.json)
        console = display.console()
        with opened_run(self.dir, self.record) as record:
            changes = [setting for setting in self.overrides if not setting.startswith("seed=")]  # that of the starts
            config = configs.override(record.config, changes)
            for changed in changes:
                if not changed.startswith(MEASURING):
                    raise LudusError(
                        f"{changed} changes nothing of a measurement; leave it out, or give settings of world.*"
                    )
            with terminal(console, None) as shown:
                results = evaluation.evaluate(record, config, spec, shown.show)
            what = {"run": str(record.directory), "seed": self.seed, "world": asdict(config.world)}
            try:
                if self.json is not None:
                    with writing(self.json):
                        self.json.write_text(dumps(what | {"measured": evaluation.as_json(results)}, indent=1))
            finally:
                self._print(console, results)

    @property
    def shows(self) -> bool:
        return self.json is None

    def _spec(self):
        from ludus.experiment.evaluation import EvalRequest

        temperatures, program = numbers("--temperature", self.temperature), self._program()
        plan = () if program else listed("--plan", self.plan)
        return EvalRequest(
            skills=listed("--skills", self.skills),
            episodes=self.episodes,
            starts=listed("--start", self.start),
            temperatures=temperatures,
            seed=self.seed,
            plan=plan,
            program=program,
            switching=self.switching,
            library_of=self.library_of,
            goals=self.goals,
        )

    def _program(self):
        """The plan, if it is written with braces."""
        from ludus.lab.program import parse

        text = "; ".join(text for several in self.plan for text in several)
        return parse(text) if "{" in text or "}" in text else None

    def _print(self, console: Console, results) -> None:
        from ludus.views.terminal import success_table

        for result in results:
            title = f"start {result.start}, temperature {result.temperature:g}"
            if self.plan:
                console.print(success_table(f"{title}: steps of the plan", result.steps))
                console.print(_said(result.skills[0].caption, result.pace))
            console.print(success_table(title, result.skills))
            if not self.plan and not self.goals:
                console.print(success_table(f"{title}: templates", result.templates))


def _said(judge: str, pace) -> str:
    when = "never" if pace.success_s is None else f"after {pace.success_s:.2f} s (median where it does)"
    return f"{judge!r} holds {when}; {pace.episode_s:.2f} s and {pace.switches:.1f} switches per episode"
