"""The runs of a study: one arm with one seed each, what is checked before the first one begins, and how each stands."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ludus.config import Config, WorldConfig, override, preset
from ludus.experiment.compose import check
from ludus.experiment.given import check_given
from ludus.experiment.library import base_library
from ludus.experiment.opening import FREE_TO_CHANGE
from ludus.experiment.study_file import SEED, Arm, Fork, Study
from ludus.lab.oversight import LAST_STEP
from ludus.lab.rounds import begun_rounds, planned_rounds
from ludus.record import Record, files, holds_run
from ludus.record.database import DATABASE, NotBegun
from ludus.skills.files import read_skills
from ludus.types import LudusError
from ludus.worlds.registry import make_world

LOGS = "logs"
ROUNDS = "experiment.rounds="

State = Literal["not begun", "running", "stopped", "failed", "done"]


@dataclass(frozen=True)
class Trial:
    """One arm with one seed: a run, begun or not."""

    arm: Arm
    seed: int
    directory: Path
    rounds: int | None  # of its settings; None: those of the run that it is a fork of
    fork: Fork | None

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def log(self) -> Path:
        """What its processes printed."""
        return self.directory.parent / LOGS / f"{self.name}.txt"

    @property
    def data(self) -> tuple[str, ...]:
        """The runs with whose episodes it begins."""
        return tuple(path.replace(SEED, str(self.seed)) for path in self.arm.data)


def trials(study: Study, directory: Path) -> list[Trial]:
    """The runs of a study, seed by seed, so that arms can be compared as early as possible.

    Raises:
        LudusError: a setting that makes no sense.
    """
    return [_trial(arm, seed, study.fork, directory) for seed in study.seeds for arm in study.arms]


def check_trials(found: Sequence[Trial]) -> None:
    """Find out what can be before the first run begins: whether worlds, models, libraries, forks and data are there.

    Raises:
        LudusError: something of them cannot be used.
    """
    checked = list[Config]()
    for trial in found:
        try:
            config = _config(trial)
            same = (config.world, config.experimenter, config.budget, config.agent)
            if same not in ((c.world, c.experimenter, c.budget, c.agent) for c in checked):
                check(config, reach=True)
                checked.append(config)
            _check_library(trial.arm.library, config.world)
            check_given([Path(run) for run in trial.data])
        except LudusError as error:
            raise LudusError(f"arm {trial.arm.name!r}, seed {trial.seed}: {error}") from None


def state(trial: Trial) -> State:
    """How a trial stands.

    Raises:
        LudusError: its directory holds what cannot be read.
    """
    if not holds_run(trial.directory):
        return "not begun"
    try:
        with Record.open(trial.directory, write=False) as record:
            found = record.state()
            if found == "stopped" and record.empty:
                return "not begun"
            if found == "done" and trial.fork is not None and trial.rounds is not None:
                # the copy of a run that is over, before it was told to go on
                return found if trial.rounds in (planned_rounds(record), begun_rounds(record)) else "stopped"
            return found
    except NotBegun:
        return "not begun"


def stands(trial: Trial) -> State:
    """As `state`, but what was tried and refused before it began has failed."""
    found = state(trial)
    return "failed" if found == "not begun" and why(trial) else found


def why(trial: Trial) -> str:
    """The last line that its processes printed, for one that has not come to its end; empty where there is none."""
    with suppress(OSError):
        lines = trial.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def copy_source(trial: Trial) -> None:
    """The run of which the trial is a fork, in the trial's directory."""
    if trial.fork is None or holds_run(trial.directory):
        return
    with files.replacing(trial.directory) as copy:
        shutil.copytree(trial.fork.source(trial.seed), copy, ignore=shutil.ignore_patterns("lock", "report.html"))


# --- inside --------------------------------------------------------------------------------------------------------


@cache
def _check_library(library: str | None, config: WorldConfig) -> None:
    if library is not None:
        skills = read_skills(Path(library))
        with closing(make_world(config, look=True)) as world:
            base_library(skills, world)


def _trial(arm: Arm, seed: int, fork: Fork | None, directory: Path) -> Trial:
    rounds = None
    if fork is None:
        try:
            rounds = override(preset(arm.preset), (*arm.settings, f"seed={seed}")).experiment.rounds
        except LudusError as error:
            raise LudusError(f"arm {arm.name!r}: {error}") from None
    elif said := [setting for setting in arm.settings if setting.startswith(ROUNDS)]:
        rounds = override(Config(), said).experiment.rounds
    return Trial(arm, seed, directory / f"{arm.name}-{seed}", rounds, fork)


def _config(trial: Trial) -> Config:
    """The settings of a trial.

    Raises:
        LudusError: they make no sense, or cannot be those of its fork.
    """
    arm, fork = trial.arm, trial.fork
    if fork is None:
        return override(preset(arm.preset), (*arm.settings, f"seed={trial.seed}"))
    source = fork.source(trial.seed)
    with Record.open(source, write=False) as record:
        kept = record.config
        begun, is_over = begun_rounds(record), record.done(LAST_STEP)
    if kept.seed != trial.seed:
        raise LudusError(f"{source} has the seed {kept.seed}; name a run per seed, with {SEED} in fork.run")
    if not is_over or begun != fork.round:
        stands = f"is over after round {begun}" if is_over else f"is in round {begun}, and not over"
        raise LudusError(
            f"{source} {stands}; a fork goes on from a run that is over, as of experiment.rounds={fork.round}: of rounds before "
            "the last one there are no weights any more"
        )
    if not (source / DATABASE).is_file():
        raise LudusError(
            f"{source} has its rows in a database elsewhere, and a copy of it would write the same; fork another"
        )
    free = (*FREE_TO_CHANGE, ROUNDS)
    for setting in arm.settings:
        if not setting.startswith(free):
            raise LudusError(f"{setting} cannot change in a fork; only {', '.join(f.rstrip('=.') for f in free)} can")
    if trial.rounds is not None and trial.rounds < begun:
        raise LudusError(f"{ROUNDS}{trial.rounds}, and {source} has {begun} behind it; give as many or more")
    return override(kept, arm.settings)
