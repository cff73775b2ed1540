"""Opening a run directory for a request: a new run, or the one that was begun with the same settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from ludus.config import Config, WorldConfig
from ludus.lab.room import Room
from ludus.record import Record, files
from ludus.record.database import NotBegun
from ludus.record.runs import holds_run
from ludus.types import LudusError, differences
from ludus.worlds.registry import bound, changed

COMPUTING = ("world.threads", "training.processes", "training.sharded", "training.data_on_device", "sampling.memory")
"""Settings of how something is computed. The result does not depend on them."""
FREE_TO_CHANGE = (
    "budget.",
    "experimenter.",
    "collection.",
    "world.version=",
    *(f"{setting}=" for setting in COMPUTING),
)
"""Settings that a run may be continued with other values of: limits, who decides from here on, where and how it is computed, and
which version of its world it goes on with."""


Steps = Mapping[str, Mapping[str, Any]]
"""What a run begins with: name of a step -> its result. See `Record.create`."""


def fresh_directory(folder: Path, name: str) -> Path:
    """Make a directory called `name` in `folder`, or `name-2`, `name-3`, ... where there is one: no two processes get the
    same one.

    Raises:
        LudusError: no room or right to make it.
    """
    for n in count(1):
        directory = folder / (name if n == 1 else f"{name}-{n}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            if not directory.exists():  # a file lies where a folder above it would be
                raise LudusError(f"{folder} is no folder; name the run's directory with --dir") from None
        except OSError as error:
            raise LudusError(f"cannot make {directory}: {error.strerror}; name another with --dir") from error
        else:
            return directory
    raise AssertionError


@contextmanager
def created(
    directory: Path,
    config: Config,
    *,
    url: str | Path | None = None,
    command: str | None = None,
    steps: Steps | None = None,
    fresh: bool = False,
) -> Iterator[Record]:
    """A new run in `directory`. What was made for a request that is then refused is removed again.

    Args:
        url: the database of its rows, and command, steps: see `Record.create`.
        fresh: the directory was made for this run, see `fresh_directory`.
    """
    new = fresh or not directory.exists()
    try:
        config = bound(config)
        begun = Record.create(directory, config, url=url, command=command, steps=steps)
    except BaseException:
        if fresh:
            files.remove(directory)
        raise
    with begun as record:
        try:
            yield record
        except LudusError:
            tried = any(m.sender == "learner" for m in record.messages())  # how a training failed is a finding
            if new and record.empty and not tried:
                record.discard()
            raise


def opened(
    directory: Path,
    config: Config,
    url: str | Path | None = None,
    free: Set[str] = frozenset(),
    command: str | None = None,
    steps: Steps | None = None,
) -> AbstractContextManager[Record]:
    """A context manager: the run in `directory`, made if there is none or nothing was made in it yet.

    Args:
        url: the database of its rows, where that is not the one that the directory remembers.
        free: sections of the configuration that may differ from the run's own.
        command, steps: of a run that is made, see `Record.create`.

    Raises:
        LudusError: a run with other settings than those of `free`, `COMPUTING` and where it collects.
    """
    if not holds_run(directory):
        return created(directory, config, url=url, command=command, steps=steps)
    try:
        record = Record.open(directory, url=url)
    except NotBegun:
        return created(directory, config, url=url, command=command, steps=steps)
    if record.empty:
        record.close()
        return created(directory, config, url=url, command=command, steps=steps)
    try:
        world = _same_world(record.config.world, config)
    except BaseException:
        record.close()
        raise
    there, kept = record.config, config.record if config.record.objects else record.config.record
    here = replace(config, world=world, record=kept)
    old, new = ({k: v for k, v in asdict(c).items() if k not in free | {"collection"}} for c in (there, here))
    for setting in COMPUTING:
        section, name = setting.split(".")
        if section in new:
            old[section][name] = new[section][name]
    if old != new:
        record.close()
        raise LudusError(
            f"{directory} holds a run with other settings ({differences(old, new)}); give the same, or choose another "
            "directory"
        )
    accept_world(record, config.world)
    return record


def accept_world(record: Record, world: WorldConfig) -> None:
    """Keep in the record that it goes on with another version of its world, if this one is stated."""
    if world.version not in ("", record.config.world.version):
        text = f"From here on the world {world.name} is of version {world.version}, before of {record.config.world.version}."
        Room(record).post("world", "all", "note", text, key=f"world/{world.version}")


# --- inside --------------------------------------------------------------------------------------------------------


def _same_world(kept: WorldConfig, config: Config) -> WorldConfig:
    """The configuration's world, with the name and the version of the one that a run keeps where only these differ: its file was
    copied, or the configuration states another version of it.

    Raises:
        LudusError: the world has changed since the run was begun, and nothing is stated.
    """
    world = bound(config).world
    if (world.version, world.kind) == (kept.version, kept.kind):
        return replace(world, name=kept.name if kept.file else world.name)
    if world.name != kept.name:
        return world
    if kept.version and not config.world.version:
        raise changed(kept, world.version)
    return replace(world, version=kept.version)
