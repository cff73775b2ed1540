"""`ludus resume`: an interrupted run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.cli.common import Finds, Overrides, opened_run, say, terminal
from ludus.types import LudusError
from ludus.views import display

ROUNDS = "experiment.rounds="
NOTHING_TO_ASK = ("replay", "measure/after", "end")
"""Steps: of a run that a recording answers; that follow the last question of a run, of a training."""


@dataclass(frozen=True)
class Resume(Finds):
    """Continue an interrupted run where it stopped; the result is the same as without the interruption."""

    dir: tyro.conf.Positional[Path | None] = None
    """The run directory; the latest under runs/ if not given."""
    overrides: Overrides = ()
    """Limits to raise, e.g. budget.calls=500, or another experimenter from here on: experimenter.analyse=planner. With
    experiment.rounds=N a run goes on up to N rounds in all, also one that is over, whether somebody stopped it or not."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.cli.run import carry_out
        from ludus.experiment import collection, offline
        from ludus.experiment.compose import check
        from ludus.experiment.opening import COMPUTING, FREE_TO_CHANGE, accept_world
        from ludus.lab.oversight import REPLAY_STEP
        from ludus.lab.rounds import ask_for_rounds
        from ludus.record.files import typed
        from ludus.views.terminal import success_table

        with opened_run(self.dir, self.record, write=True) as record:
            repeated = record.repeated or ("collect" if collection.is_collection(record) else None)
            if repeated:
                what = {"collect": "collected episodes", "import": "imported episodes", "exam": "answers to an exam"}[
                    repeated
                ]
                raise LudusError(f"{record.directory} holds {what} only; give the same `ludus {repeated}` again")
            alone = offline.is_training(record)
            config = configs.override(record.config, self.overrides)
            asked = not alone and any(o.startswith(ROUNDS) for o in self.overrides)
            rounds = config.experiment.rounds if asked else None  # a command, not another setting
            config = configs.override(config, [f"{ROUNDS}{record.config.experiment.rounds}"])
            for changed in self.overrides:
                if not changed.startswith((*FREE_TO_CHANGE, ROUNDS) if asked else FREE_TO_CHANGE):
                    more = f"; train on with `ludus train NEW --init {record.directory} --data RUN {changed}`"
                    raise LudusError(
                        f"{changed} would make another run of it; only budget.*, experimenter.*, collection.*, "
                        f"experiment.rounds, world.version and {', '.join(COMPUTING)} may change on "
                        f"resuming{more if alone else ''}"
                    )
            asks = not any(map(record.done, NOTHING_TO_ASK)) or (rounds is not None and not record.done(REPLAY_STEP))
            console = display.console()
            say(console, check(config, reach=asks))
            accept_world(record, config.world)
            if rounds is not None:
                ask_for_rounds(record, rounds)
            if not alone:
                carry_out(record, config)
                return
            with terminal(console, f"ludus resume {typed(record.directory)}") as shown:
                counts = offline.train(record, config, shown.person, shown.show)
            console.print(success_table(f"{record.directory}: the last point of the curves", counts))
