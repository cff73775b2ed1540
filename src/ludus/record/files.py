"""Files that survive a crash: written under a temporary name, flushed to the disk, renamed into place.

A reader sees the old file or the new one, never half of either. Temporary names end in `.tmp`; whoever finds one may
delete it.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ludus.types import LudusError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk and of a user's exhausted quota."""
UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOTTY)
"""Error numbers by which a file system says that it has no such operation."""
MAX_TOML_BYTES = 16 << 20
"""Of a file that somebody wrote; a library of a thousand skills takes some 0.3 MB."""
FULL_WORDS = ("disk is full", "no space left on device", "disk quota exceeded")


def named(path: str | Path) -> Path:
    """A path as somebody gave it.

    Raises:
        LudusError: nothing can have this name: too long, a circle of symbolic links, or what is no text.
    """
    path = Path(path)
    try:
        str(path).encode()  # a record holds text; bytes of a name that are no UTF-8 are none
        path.stat()
        path.resolve()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # what it is wanted for says so
    except (OSError, RuntimeError, ValueError) as error:
        text = ascii(str(path))
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise LudusError(
            f"{text if len(text) < 80 else text[:77] + '...'} can be no file ({why}); name another"
        ) from None
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` for the body to create, a file or a directory; then move it to `path`.

    When the body raises, `path` is untouched and the temporary one is gone. A *directory* at `path` is removed just
    before the rename, so for directories there is a moment with nothing at `path`: fine for a step's outputs, which
    nobody reads before the step's commit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    remove(temporary)
    try:
        yield temporary
        _flush_tree(temporary)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
        _flush(path.parent)
    except BaseException as error:
        full = is_full(error, path.parent)  # before there is room again
        remove(temporary)
        if full and not isinstance(error, OSError):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tree of a TOML file that somebody wrote.

    Args:
        what: the file is, for a sentence: 'library file'.

    Raises:
        LudusError: no such file, one that is too large, or no TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise LudusError(f"cannot read the {what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LudusError(f"the {what} {path} is not UTF-8 text") from None
    if len(data) > MAX_TOML_BYTES:  # /dev/zero never ends
        raise LudusError(f"the {what} {path} is larger than {MAX_TOML_BYTES >> 20} MB; give a {what}")
    try:
        return parse_toml(text)
    except LudusError as error:
        raise LudusError(f"{what} {path}: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """As `read_toml`, of a text."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise LudusError(f"not TOML: {error}") from None


def remove(path: Path) -> None:
    """Delete a file or a directory tree, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def typed(path: str | Path) -> str:
    """The path as it is typed in a command: quoted for a shell, and not to be mistaken for an option or a setting. What cannot be
    seen, such as a tab, is written out, as bash and zsh read it."""
    text = str(path)
    text = f"./{text}" if text.startswith("-") or "=" in text.partition("/")[0] else text
    if text.isprintable():
        return shlex.quote(text)
    seen = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(c if c.isprintable() else _octal(c) for c in seen)}'"


def _octal(sign: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in sign.encode("utf-8", "surrogateescape"))


def is_full(error: BaseException | None, directory: Path) -> bool:
    """Whether a full disk is behind `error`, which arose from writing in `directory`: an OSError, the wording of SQLite
    or safetensors, or an error that says nothing of the kind while there is no room. A directory that does not exist is not
    full."""
    chain = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno in FULL:
            return True
        if any(words in str(chain).lower() for words in FULL_WORDS):
            return True
        chain = chain.__cause__ or chain.__context__
    # SQLite also says 'disk I/O error', torch.save raises a RuntimeError about positions.
    return isinstance(error, Exception) and directory.exists() and shutil.disk_usage(directory).free < 1 << 16


def _flush_tree(path: Path) -> None:
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            _flush(inner)
    _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # CIFS, vboxsf and some FUSE systems cannot flush a folder. The rename is as whole without it; a power cut may undo it.
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
