"""Opening a run directory for a request: a new run, or the one that was begun with the same settings."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

from ludus.config import Config
from ludus.record import Record
from ludus.record.runs import holds_run
from ludus.types import LudusError, differences

COMPUTING = ("world.threads", "training.processes", "training.sharded", "sampling.memory")
"""Settings of how something is computed. The result does not depend on them."""
FREE_TO_CHANGE = ("budget.", "experimenter.", *(f"{setting}=" for setting in COMPUTING))
"""Settings that a run may be continued with other values of: limits, who decides from here on, and how it is computed."""


@contextmanager
def created(
    directory: Path, config: Config, *, database: str | None = None, command: str | None = None
) -> Iterator[Record]:
    """A new run in `directory`. What was made for a request that is then refused is removed again.

    Args:
        database: see `Record.create`; `<directory>/ludus.db` if None.
        command: the command line to remember; this process's if None.
    """
    new = not directory.exists()
    with Record.create(directory, config, url=database, command=command) as record:
        try:
            yield record
        except LudusError:
            tried = any(m.sender == "learner" for m in record.messages())  # how a training failed is a finding
            if new and record.empty and not tried:
                record.discard()
            raise


def opened(
    directory: Path, config: Config, free: Set[str] = frozenset(), command: str | None = None
) -> AbstractContextManager[Record]:
    """A context manager: the run in `directory`, made if there is none or nothing was made in it yet.

    Args:
        free: sections of the configuration that may differ from the run's own.

    Raises:
        LudusError: a run with other settings than those of `free` and `COMPUTING`.
    """
    if not holds_run(directory):
        return created(directory, config, command=command)
    record = Record.open(directory)
    if record.empty:
        record.close()
        return created(directory, config, command=command)
    old, new = ({k: v for k, v in asdict(c).items() if k not in free} for c in (record.config, config))
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
    return record
