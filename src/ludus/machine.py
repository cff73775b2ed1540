"""What this process may use of the machine: the cores and the memory that scheduler, control groups and OpenMP leave to it.

Imported with the package, before torch: where the environment says so, OpenMP binds the thread that loads it to one core, and
every thread and process started from there stays on that core.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger("ludus")

BINDING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
"""Environment variables that make OpenMP bind threads to cores."""
ONE_THREAD: Mapping[str, str] = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Variables for a process that has its share of the cores: a linear algebra library would otherwise start a thread per core for
matrices of seven rows, and in a simulation that solves such systems these waited for each other more than half of the time."""
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
SHARED_MEMORY = Path("/dev/shm")


def _allowed() -> frozenset[int]:
    """The cores that the scheduler gives to this thread; all where a system does not say."""
    ask = getattr(os, "sched_getaffinity", None)  # macOS has none
    return frozenset(ask(0) if ask else range(os.cpu_count() or 1))


_AT_START = _allowed()
_TOO_LATE = "torch" in sys.modules
"""Whether torch may have bound this thread before its cores were counted."""
_warned = False


def cores() -> int:
    """Cores that this process may use: those it was started on, at most as many as its control groups' share of time."""
    return max(1, min(len(_AT_START), math.ceil(min(_shares(), default=len(_AT_START)))))


def threads(wanted: int = 0) -> int:
    """How many threads or processes to start: `wanted`, or one per core. The calling thread, whose cores they inherit, gets
    those back that OpenMP bound it away from."""
    global _warned
    if _allowed() < _AT_START:
        os.sched_setaffinity(0, _AT_START)
    bound = [f"{name}={os.environ[name]}" for name in BINDING if os.environ.get(name, "false").lower() != "false"]
    if _TOO_LATE and bound and len(_AT_START) == 1 < (os.cpu_count() or 1) and not _warned:
        _warned = True
        logger.warning(
            "OpenMP has bound this process to one of %d cores (%s); import ludus before torch, or unset it",
            os.cpu_count(),
            ", ".join(bound),
        )
    return wanted or cores()


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """A process that is started inside finds these environment variables, but for those that the user has set."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def version(package: str) -> str:
    """Of an installed package; 'not installed' of any other."""
    from importlib import metadata  # `import ludus` alone does without

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def memory_bytes() -> int:
    """Memory of the machine, or of this process's control groups where they allow less."""
    limits = [_number(group / name) for group in _groups("memory") for name in ("memory.max", "memory.limit_in_bytes")]
    return int(min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits))


def provide_temporary_folder(near: Path, needed: bool = True) -> None:
    """Where none of the system's folders for temporary files can be written, as on a read-only root, libraries that want one
    at their import are given the folder in which `near` lies, or the memory that processes share.

    Raises:
        LudusError: neither can be written, and one is needed.
    """
    from ludus.types import LudusError  # imports NumPy, which `import ludus` alone does without

    with suppress(FileNotFoundError):
        tempfile.gettempdir()
        return
    while not near.is_dir():
        near = near.parent
    for folder in (near, SHARED_MEMORY):
        if os.access(folder, os.W_OK):
            os.environ["TMPDIR"] = str(folder.resolve())
            return
    if needed:
        raise LudusError(f"neither {near} nor a folder for temporary files can be written; set TMPDIR to one that can")


def _shares() -> Iterator[float]:
    """Cores' worth of time that each control group allows."""
    for group in _groups("cpu"):
        with suppress(OSError, ValueError):  # version 2
            quota, period = (group / "cpu.max").read_text().split()
            yield float(quota) / float(period)
        quota = _number(group / "cpu.cfs_quota_us")
        if 0 < quota < math.inf:
            yield quota / _number(group / "cpu.cfs_period_us")


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control groups of both versions, and of those around them. In a container the path may be the
    host's; what is mounted is then the container's own."""
    with suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            mounted = CONTROL_GROUPS / controllers
            inside = Path(path.lstrip("/"))
            for group in (mounted / inside, *((mounted / around) for around in inside.parents)):
                if group.is_dir():
                    yield group


def _number(path: Path) -> float:
    """What stands in the file; infinite where there is none or no limit."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return math.inf
