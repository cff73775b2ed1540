"""ludus: an RL experimenter run by a vision-language model. `ludus COMMAND --help` explains each command."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tyro

from ludus import machine
from ludus.cli.chat import Chat
from ludus.cli.check import Check
from ludus.cli.cluster import Cluster
from ludus.cli.collect import Collect
from ludus.cli.common import interruptible, seeded, settings_apart
from ludus.cli.convert import Convert
from ludus.cli.do import Do
from ludus.cli.doctor import Doctor
from ludus.cli.eval import Eval
from ludus.cli.exam import Exam
from ludus.cli.export import Export
from ludus.cli.imports import Import
from ludus.cli.mcp import Mcp
from ludus.cli.resume import Resume
from ludus.cli.run import Run
from ludus.cli.serve import Serve
from ludus.cli.settings import Settings
from ludus.cli.skills import Skills
from ludus.cli.status import Status
from ludus.cli.study import Study
from ludus.cli.train import Train
from ludus.cli.worlds import Worlds
from ludus.types import LudusError
from ludus.views import display

COMMANDS = {
    "do": Do,
    "run": Run,
    "resume": Resume,
    "study": Study,
    "status": Status,
    "serve": Serve,
    "chat": Chat,
    "mcp": Mcp,
    "skills": Skills,
    "collect": Collect,
    "train": Train,
    "eval": Eval,
    "exam": Exam,
    "cluster": Cluster,
    "import": Import,
    "export": Export,
    "worlds": Worlds,
    "check": Check,
    "convert": Convert,
    "settings": Settings,
    "doctor": Doctor,
}
"""Name -> a dataclass whose fields are the options; calling an instance carries the command out. Where `shows` is true, all
that it makes is what it prints, and it fails if that is lost."""


def main() -> None:
    """Entry point. Every mistake that a user can mend ends in one sentence and exit status 2."""
    with display.lasting() as output:
        logging.basicConfig(level=logging.WARNING, format="ludus: %(message)s")
        errors = display.console(stderr=True)
        try:
            with interruptible("Interrupted before anything was begun.", errors.print):
                if sys.argv[1:] == ["--version"]:
                    display.console().print(f"ludus {machine.version('ludus')}")
                    return
                command = _read(sys.argv[1:])
                command()
        except (LudusError, MemoryError, OSError) as error:
            from ludus.views.text import clean

            said = str(error)
            if isinstance(error, MemoryError):
                said = f"not enough memory ({error}); lower world.n_envs, seed_data.episodes, agent.batch_size or agent.size"
            if isinstance(error, OSError):
                if error.filename is None:
                    raise  # of no file that somebody named
                said = f"{error.filename}: {error.strerror}; mend that, or name another place"
            errors.print(clean(f"ludus: {said}"), style="red")
            raise SystemExit(2) from None
        if output.lost and getattr(command, "shows", False):
            raise SystemExit(1)


def _read(arguments: list[str]) -> Any:
    """The command that the words ask for."""
    _check_folder()
    settings: Sequence[str] = ()
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is not None and "overrides" in {field.name for field in dataclasses.fields(command)}:
        arguments, settings = settings_apart(arguments)
    if "WORLD_SIZE" in os.environ and arguments[:1] != ["train"]:
        _refuse_torchrun()
    for word in arguments:
        _check_text(word)
    chosen = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="ludus", description=__doc__, args=arguments)
    _check_paths(vars(chosen).values(), arguments)
    # `ludus status` and the like do without, so that a run can be looked at wherever it lies
    needed = getattr(command, "shows", False) is not True
    machine.provide_temporary_folder(Path(getattr(chosen, "dir", None) or "."), needed)
    return seeded(dataclasses.replace(chosen, overrides=(*chosen.overrides, *settings))) if settings else chosen


def _check_text(word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError:
        raise LudusError(f"{word!a} is not UTF-8, as which a run keeps its command; rename it") from None


def _check_folder() -> None:
    """
    Raises:
        LudusError: the current folder was deleted; libraries that look for their files would end the process.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise LudusError(f"the current folder cannot be used ({error.strerror}); change to one that exists") from None


def _check_paths(values: Iterable[Any], words: Sequence[str]) -> None:
    """
    Args:
        words: from which the values were read.

    Raises:
        LudusError: one of the paths, which may lie in tuples of tuples, can be no file's, or is that of an empty word: of
            `--dir "$UNSET"`, which would otherwise mean the current folder.
    """
    from ludus.record import files

    for value in values:
        if isinstance(value, tuple):
            _check_paths(value, words)
        elif isinstance(value, Path):
            files.named(value)
            texts = [word.partition("=")[2] if word.startswith("--") else word for word in words]
            if value == Path() and "" in texts and not any(text and Path(text) == value for text in texts):
                raise LudusError("an empty text names no place; give the path, or . for the current folder")


def _refuse_torchrun() -> None:
    from ludus.agents.backends import process_group

    if process_group.launched():
        raise LudusError("torchrun starts several processes; only `ludus train` shares its work between them")
