"""`ludus study`: arms by seeds, and what they say together."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ludus import machine
from ludus.cli.common import RUNS, Keeps, terminal
from ludus.types import LudusError
from ludus.views import display

if TYPE_CHECKING:
    from ludus.experiment.trials import Trial


@dataclass(frozen=True)
class Study(Keeps):
    """Run a study, arms by paired seeds, and report it; the same command goes on where it stopped. See docs/studies.md."""

    file: tyro.conf.Positional[Path]
    """The study, a TOML file: name, card, arms and seeds."""
    dir: Path | None = None
    """Where its runs and results are kept; runs/NAME if not given."""
    parallel: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 1
    """So many runs side by side, which share the cores."""
    report: bool = False
    """Run nothing: report what there is."""

    def __call__(self) -> None:
        from ludus.config.limits import MAX_THREADS
        from ludus.experiment import study as engine
        from ludus.experiment import trials as runs
        from ludus.experiment.study_file import read_study
        from ludus.record import Progress
        from ludus.views.queries.study import study_result
        from ludus.views.studies import print_study, write_study

        if not 1 <= self.parallel <= MAX_THREADS:
            raise LudusError(f"--parallel {self.parallel}: give 1 to {MAX_THREADS} runs")
        study, console = read_study(self.file), display.console()
        directory = self.dir or RUNS / study.name
        if self.record is not None and study.fork is not None:
            raise LudusError("--record: runs of a study with a fork keep their rows in copies of the run; leave it out")
        trials = runs.trials(study, directory)
        if self.report:
            sha256 = engine.check_card(study, directory)
        else:
            runs.check_trials(trials)
            sha256 = engine.keep_card(study, directory)
            left = [trial for trial in trials if runs.state(trial) != "done"]
            console.print(f"{len(trials)} runs in {directory}, {len(trials) - len(left)} of them done; card {sha256}")
            with terminal(console, "the same command") as shown:
                progress, runner = Progress(None, shown.show), Processes(self.parallel, self.record)
                engine.carry_out(directory, left, runner, self.parallel, progress, console.print)
        result = study_result(study, sha256, trials)
        page = write_study(result, directory)
        print_study(result, console)
        console.print(f"Report: {page}")
        if result.unfinished and not self.report:
            names = ", ".join(run.name for run in result.unfinished)
            raise LudusError(f"not done: {names}; the same command tries them again")


@dataclass
class Processes:
    """Carries trials out as `ludus run` and `ludus resume`, each in a process of its own."""

    parallel: int
    record: str | None = None  # database of the rows of runs that are begun
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def __call__(self, trial: Trial) -> None:
        with self._lock, trial.log.open("ab") as log:
            if self._stopped:
                return
            command = [sys.executable, "-m", "ludus.cli", *self._words(trial)]
            # a session of its own: Ctrl-C is meant for the study, which passes it on
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            self._running.add(process)
        process.wait()
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """Interrupt what is under way, and begin nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def _words(self, trial: Trial) -> list[str]:
        from ludus.experiment.trials import state

        arm, shared = trial.arm, self._shared(trial.arm.settings)
        if trial.fork is not None:
            return ["resume", str(trial.directory), *arm.settings, *shared]
        if state(trial) != "not begun":
            return ["resume", str(trial.directory), *shared]
        library = [] if arm.library is None else ["--library", arm.library]
        data = [word for run in trial.data for word in ("--data", run)]
        words = ["run", "--dir", str(trial.directory), f"--seed={trial.seed}", "--preset", arm.preset, *library, *data]
        record = [] if self.record is None else ["--record", self.record]
        return [*words, *record, *arm.settings, *shared]

    def _shared(self, settings: tuple[str, ...]) -> list[str]:
        """Settings by which runs side by side share the cores; no result depends on them."""
        if self.parallel == 1:
            return []
        share = max(1, machine.cores() // self.parallel)
        names = [
            name
            for name in ("training.processes", "world.threads")
            if not any(s.startswith(f"{name}=") for s in settings)
        ]
        return [f"{name}={share}" for name in names]
