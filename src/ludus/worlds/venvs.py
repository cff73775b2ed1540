"""Virtual environments of worlds whose packages may not fit beside ludus."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from ludus.types import LudusError

OURS = ("numpy", "pydantic")
"""What the world's side of the pipe needs."""


def folder(requirements: tuple[str, ...]) -> Path:
    """Where the environment with these packages lies, for this version of Python."""
    text = " ".join((f"python{sys.version_info.major}.{sys.version_info.minor}", *sorted(requirements)))
    name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ludus" / "worlds" / name


def interpreter(requirements: tuple[str, ...], python: str, world: str) -> str:
    """Path of the interpreter in which a world is made: `python` if it is given, else that of the environment.

    Raises:
        LudusError: the environment was not made yet.
    """
    if python:
        return os.path.expanduser(python)
    made = folder(requirements)
    if not _ready(made).exists():
        raise LudusError(
            f"world {world!r} needs {', '.join(requirements)}; install them by `ludus worlds install {world}`"
        )
    return str(_python(made))


def install(requirements: tuple[str, ...]) -> Path:
    """Make the environment, unless it is there.

    Raises:
        LudusError: it cannot be made, or pip cannot install a requirement; pip has said why.
    """
    made = folder(requirements)
    if _ready(made).exists():
        return made
    try:
        venv.create(made, clear=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LudusError(f"no virtual environment can be made in {made} ({error}); mend that") from error
    done = subprocess.run([_python(made), "-m", "pip", "install", "--disable-pip-version-check", *OURS, *requirements])
    if done.returncode:
        raise LudusError(f"pip could not install {', '.join(requirements)} (see above); mend WorldKind.requirements")
    _ready(made).write_text("\n".join(requirements))
    return made


def _ready(made: Path) -> Path:
    return made / "ludus-requirements.txt"


def _python(made: Path) -> Path:
    return made / ("Scripts" if os.name == "nt" else "bin") / "python"
