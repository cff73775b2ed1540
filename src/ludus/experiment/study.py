"""Carrying out a study: its card is kept first, then every arm runs with every seed, each as a run of its own.

A study's directory holds `card.json`, the run directories `<arm>-<seed>`, what each run printed in `logs/`, and the results.
Whoever carries out a run is given as a function, so that runs may be processes on this machine or on others. Nothing is kept in
memory: a study that was interrupted asks the runs' records what is left to do.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

from ludus.config import Config, WorldConfig, override, preset
from ludus.experiment.compose import check
from ludus.experiment.given import check_given
from ludus.experiment.library import base_library
from ludus.experiment.opening import FREE_TO_CHANGE
from ludus.experiment.study_file import SEED, Arm, Fork, Study, digest
from ludus.lab.oversight import LAST_STEP
from ludus.lab.rounds import begun_rounds, planned_rounds
from ludus.record import Record, files, holds_run
from ludus.record.database import DATABASE, NotBegun
from ludus.record.lock import DirectoryLock, owner
from ludus.record.progress import Progress
from ludus.skills.files import read_skills
from ludus.types import LudusError
from ludus.worlds.registry import make_world

CARD = "card.json"
LOGS = "logs"
LOOK_S = 1.0
"""How often it is looked how far the runs are."""
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


class Runner(Protocol):
    """Carries trials out, several at the same time."""

    def __call__(self, trial: Trial) -> object:
        """Carry the trial out, or go on with it; return when its process has ended, however that was."""

    def stop(self) -> object:
        """Interrupt what is under way, and begin nothing more."""


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


def keep_card(study: Study, directory: Path) -> str:
    """Write the study's card into its directory, unless it is there, and return its digest.

    Raises:
        LudusError: another card is there, or the directory holds something else.
    """
    if (directory / CARD).exists():
        return check_card(study, directory)
    if directory.is_dir() and any(directory.iterdir()):
        raise LudusError(f"{directory} holds something else than a study; name a new directory with --dir")
    content = study.content()
    card = {"name": study.name, "sha256": digest(content), "written": time.time(), **content}
    try:
        files.write(directory / CARD, f"{json.dumps(card, indent=1, ensure_ascii=False)}\n".encode())
    except OSError as error:
        raise LudusError(f"cannot write in {directory}: {error.strerror}; name another directory with --dir") from error
    return card["sha256"]


def check_card(study: Study, directory: Path) -> str:
    """The digest of the study, which is that of the card in its directory.

    Raises:
        LudusError: it is not, or there is no card.
    """
    new, kept = digest(study.content()), kept_digest(directory)
    if kept != new:
        raise LudusError(
            f"the card in {directory} has the hash {kept}, this one {new}: a card is not changed once there may be results. "
            "Take back what was changed (of the card, arms, seeds or settings), or name a new directory with --dir"
        )
    return new


def kept_digest(directory: Path) -> str:
    """The digest of the card that a study's directory holds.

    Raises:
        LudusError: none is there, or it was changed by hand.
    """
    path = directory / CARD
    try:
        kept = json.loads(path.read_bytes())
        said = kept.pop("sha256")
        content = {k: v for k, v in kept.items() if k not in ("name", "written")}
    except FileNotFoundError:
        raise LudusError(f"{directory} holds no study; `ludus study STUDY.toml` begins one") from None
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise LudusError(f"{path} cannot be read ({error!r}); restore it from a copy") from error
    if digest(content) != said:
        raise LudusError(
            f"{path} was changed by hand: it says {said}, and its content has {digest(content)}; restore it"
        )
    return said


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


def carry_out(
    directory: Path,
    left: Sequence[Trial],
    run: Runner,
    parallel: int,
    progress: Progress,
    tell: Callable[[str], object],
) -> None:
    """Carry out the trials, so many side by side; one that fails stops no other. A trial that another process works on, as of a
    study that was killed, is waited for.

    Args:
        tell: is told of each that did not come to its end.

    Raises:
        LudusError: the study is being carried out already.
    """
    lock = _lock(directory)
    (directory / LOGS).mkdir(exist_ok=True)
    ends, under_way = threading.Event(), dict[str, _Watched]()

    def one(trial: Trial) -> None:
        if ends.is_set():
            return
        with suppress(_Unfinished), progress.stage(trial.name, (trial.rounds or 0) + 1) as advance:
            under_way[trial.name] = _Watched(trial, advance)
            try:
                came_to = _attempt(trial, run, ends)
            finally:
                del under_way[trial.name]
            if came_to != "done":
                if not ends.is_set():
                    tell(f"{trial.name}: {came_to}; {why(trial)}")
                raise _Unfinished

    pool = ThreadPoolExecutor(parallel)
    try:
        pending: set[Future[None]] = {pool.submit(one, trial) for trial in left}
        while pending:
            done, pending = wait(pending, LOOK_S, FIRST_COMPLETED)
            for watched in list(under_way.values()):
                watched.look()
            for future in done:
                future.result()
    finally:
        ends.set()
        run.stop()
        pool.shutdown(cancel_futures=True)
        lock.release()


# --- inside --------------------------------------------------------------------------------------------------------


class _Unfinished(Exception):
    """A trial did not come to its end, so that its stage stays open."""


def _attempt(trial: Trial, run: Runner, ends: threading.Event) -> State:
    """How a trial stands after it was carried out, or gone on with."""
    try:
        while state(trial) == "running" and not ends.wait(LOOK_S):
            pass
        if not ends.is_set() and state(trial) != "done":
            _copy(trial)
            run(trial)
        return stands(trial)
    except (LudusError, OSError) as error:
        with suppress(OSError), trial.log.open("a") as log:
            log.write(f"{error}\n")
        return "failed"


class _Watched:
    """A trial under way, of which is shown in which round it is."""

    def __init__(self, trial: Trial, advance: Callable[[int], None]) -> None:
        self._trial, self._advance, self._shown = trial, advance, 0

    def look(self) -> None:
        with suppress(LudusError), Record.open(self._trial.directory, write=False) as record:
            begun = min(begun_rounds(record), self._trial.rounds or 0)
            self._advance(max(0, begun - self._shown))
            self._shown = max(self._shown, begun)


def _lock(directory: Path) -> DirectoryLock:
    try:
        return DirectoryLock(directory)
    except LudusError:
        raise LudusError(
            f"the study in {directory} is under way already (pid {owner(directory)}); wait for it"
        ) from None


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


def _copy(trial: Trial) -> None:
    """The run of which the trial is a fork, in the trial's directory."""
    if trial.fork is None or holds_run(trial.directory):
        return
    with files.replacing(trial.directory) as copy:
        shutil.copytree(trial.fork.source(trial.seed), copy, ignore=shutil.ignore_patterns("lock", "report.html"))
