"""Python files of one's own as modules that any process can import.

A file becomes the module `ludus.worlds.files.<path>@<checksum>`. What is pickled of it, such as a predicate or an encoder, names
that module. A process that unpickles it imports this one first, and with it the finder that reads path and checksum off the name:
worker processes load the same file, and none another one. A file that was changed is another module.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from ludus.types import LudusError

__path__: list[str] = []  # makes this module a package, which the files' modules are in
PREFIX = f"{__name__}."
CHECKSUM_BYTES = 8
"""BLAKE2b; a user compares the 16 hex digits by eye."""
MAX_REASON = 300
"""Characters of what a file's exception says."""


def load(path: Path) -> tuple[ModuleType, str]:
    """The module that a file is, and the file's checksum.

    Raises:
        LudusError: it cannot be read, is no Python, or raises.
    """
    try:
        checksum = _checksum(path.read_bytes())
    except OSError as error:
        raise LudusError(
            f"the world's file {path} cannot be read ({error.strerror}); put it there, or name it by its path from here"
        ) from error
    try:
        return import_module(f"{PREFIX}{_escaped(str(path))}@{checksum}"), checksum
    except (Exception, SystemExit) as error:
        raise LudusError(
            f"the world's file {path} cannot be loaded: {reason(error, str(path))}; mend the file"
        ) from error


def fix(error: Exception, otherwise: str) -> str:
    """What helps against an error in a world's code: its package where one is missing, else `otherwise`."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"add the package of {error.name.partition('.')[0]!r} to the world's requirements, or install it where ludus is"
    return otherwise


def reason(error: BaseException, file: str | None = None) -> str:
    """What was raised, in one line: where in the file, of what type, and why."""
    said = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if isinstance(error, SyntaxError) and error.filename == file:
        lines.append(error.lineno)
    where = f"line {lines[-1]}, " if lines and lines[-1] else ""
    return f"{where}{type(error).__name__}{': ' * bool(said)}{said[:MAX_REASON]}"


class _Finder(MetaPathFinder):
    """Finds the modules of files."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        file = _plain(fullname.removeprefix(PREFIX).rpartition("@")[0])
        return spec_from_file_location(fullname, file, loader=_Loader(fullname, file))


class _Loader(SourceFileLoader):
    """Compiles the source itself: no `.pyc` lies beside the file, and none can be older than it."""

    def get_code(self, fullname: str) -> CodeType:
        source, wanted = self.get_data(self.path), fullname.rpartition("@")[2]
        if _checksum(source) != wanted:
            raise LudusError(f"{self.path} was changed while it was in use; begin again")
        return self.source_to_code(source, self.path)

    def exec_module(self, module: ModuleType) -> None:
        folder = os.path.dirname(self.path)
        if folder not in sys.path:
            sys.path.append(folder)  # the file may import what lies beside it; last, so that it hides no package
        super().exec_module(module)


def _checksum(source: bytes) -> str:
    return hashlib.blake2b(source, digest_size=CHECKSUM_BYTES).hexdigest()


def _escaped(path: str) -> str:
    """Without dots, which part the names of modules."""
    return path.replace("%", "%25").replace(".", "%2e")


def _plain(name: str) -> str:
    return name.replace("%2e", ".").replace("%25", "%")


sys.meta_path.append(_Finder())
