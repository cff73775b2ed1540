"""What this machine can do, and what to install where it cannot."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ludus import machine
from ludus.record import filesystem

Finding = tuple[str, bool, str, str]  # what, fine?, seen, fix (empty where fine)


def diagnose(console: Console) -> int:
    """Print a table of findings; 0 if a run works here (pictures are optional), else 1."""
    table = Table("", "what", "seen", "fix")
    findings = list(_findings())
    for what, fine, seen, fix in findings:
        table.add_row(Text("ok", "green") if fine else Text("no", "red"), what, seen, fix)
    console.print(table)
    return 0 if all(fine or what == "OpenGL" for what, fine, _, _ in findings) else 1


def _findings() -> Iterator[Finding]:
    yield "Python", True, platform.python_version(), ""
    for package in ("ludus", "torch", "numpy"):
        yield package, True, version(package), ""
    try:
        yield "mujoco", True, version("mujoco"), ""
    except PackageNotFoundError:
        yield "mujoco", False, "not installed", "pip install 'ludus[blocks]', unless other worlds are enough"
    cores, load = machine.cores(), os.getloadavg()[0]
    yield "cores", cores >= 2, f"{cores}, load {load:.1f}", "" if cores >= 2 else "a run on one core takes long"
    memory_gb = machine.memory_bytes() / 1e9
    yield (
        "memory",
        memory_gb >= 4,
        f"{memory_gb:.0f} GB",
        "" if memory_gb >= 4 else "4 GB are needed; try --preset tiny",
    )
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    yield "disk here", free_gb >= 2, f"{free_gb:.0f} GB free", "" if free_gb >= 2 else "a run keeps about 1 GB"
    yield _file_system(Path.cwd())
    yield _opengl()


def _file_system(here: Path) -> Finding:
    try:
        lacks = filesystem.missing(here)
    except OSError as error:
        lacks = {"right to write": str(error.strerror)}
    fine = set(lacks) <= {filesystem.SHARED_MAPS}
    seen = "; ".join(f"no {ability} ({reason})" for ability, reason in lacks.items()) or "locks and shared maps"
    return "file system here", fine, seen, "" if fine else "keep runs on a local disk: --dir"


def _opengl() -> Finding:
    from ludus.worlds.render import probe

    backend = probe()
    if backend is None:
        return "OpenGL", False, "none", "apt-get install libegl1 libegl-mesa0 libosmesa6 (without: no pictures)"
    return "OpenGL", True, backend, ""
