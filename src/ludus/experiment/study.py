"""Carrying out a study: its card is kept first, then every arm runs with every seed, each as a run of its own.

A study's directory holds `card.json`, the run directories `<arm>-<seed>`, what each run printed in `logs/`, and the results.
Whoever carries out a run is given as a function, so that runs may be processes on this machine or on others. Nothing is kept in
memory: a study that was interrupted asks the runs' records what is left to do.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ludus.experiment.study_file import Study, digest
from ludus.experiment.trials import LOGS, State, Trial, copy_source, stands, state, why
from ludus.lab.rounds import begun_rounds
from ludus.record import Record, files
from ludus.record.lock import DirectoryLock, owner
from ludus.record.progress import Progress
from ludus.types import LudusError

CARD = "card.json"
LOOK_S = 1.0
"""How often it is looked how far the runs are."""


class Runner(Protocol):
    """Carries trials out, several at the same time."""

    def __call__(self, trial: Trial) -> object:
        """Carry the trial out, or go on with it; return when its process has ended, however that was."""

    def stop(self) -> object:
        """Interrupt what is under way, and begin nothing more."""


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
        with progress.stage(f"{directory.name}: runs", len(left)) as ended:
            pending: set[Future[None]] = {pool.submit(one, trial) for trial in left}
            while pending:
                done, pending = wait(pending, LOOK_S, FIRST_COMPLETED)
                for watched in list(under_way.values()):
                    watched.look()
                for future in done:
                    future.result()
                ended(len(done))
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
            copy_source(trial)
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
