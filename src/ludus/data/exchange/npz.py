"""NumPy's .npz files as a dataset: one episode in each, or several in one, which the mapping then separates."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ludus.data.exchange.dataset import Dataset, Recorded, checksum
from ludus.types import LudusError, unknown


def read_npz(files: Sequence[Path], separation: Mapping[str, str]) -> Dataset:
    """The episodes of these files. Arrays are the columns: `[N, ...]`, or one value for all steps.

    Args:
        separation: `[episodes]` of the mapping: 'index' or 'last' -> the name of an array. Empty: a file is an episode.

    Raises:
        LudusError: a file that cannot be read, or no such array.
    """
    if not files:
        raise LudusError("no .npz file to import; name some")
    for path in files:
        if not path.is_file():
            raise LudusError(f"there is no file {path}; name .npz files")

    def episodes() -> Iterator[Recorded]:
        for path in files:
            columns = _load(path)
            for i, rows in enumerate(_parts(path, columns, separation)):
                n = rows.stop - rows.start
                own = {name: v if len(v) == 1 and n > 1 else v[rows] for name, v in columns.items()}
                yield Recorded(f"episode {i} of {path.name}" if separation else path.name, own)

    first = _load(files[0])
    return Dataset(
        name=files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} others",
        n_episodes=sum(len(_parts(path, _load(path), separation)) for path in files) if separation else len(files),
        episodes=episodes,
        checksum=checksum(files),
        actions=next((name for name in ("actions", "action") if name in first), "actions"),
        captions="caption" if "caption" in first else None,
        named={name.replace("/", "."): name for name in first},
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.atleast_1d(file[name]) for name in file.files}
    except OSError as error:
        raise LudusError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise LudusError(f"{path} is no .npz file of plain arrays ({error}); write one with numpy.savez") from None


def _parts(path: Path, columns: Mapping[str, np.ndarray], separation: Mapping[str, str]) -> list[slice]:
    """The rows of each episode."""
    if not separation:
        return [slice(0, max((len(v) for v in columns.values()), default=0))]
    if len(separation) > 1:
        raise LudusError("[episodes] of the mapping says both index and last; give one of them")
    ((how, name),) = separation.items()
    if name not in columns:
        raise unknown(f"array of {path.name}", name, tuple(columns))
    marks = columns[name].reshape(len(columns[name]), -1)[:, 0]
    n = len(marks)
    for other, values in columns.items():
        if len(values) not in (1, n):
            raise LudusError(
                f"{path.name}: {other!r} has {len(values)} rows, {name!r} has {n}; both go over all episodes"
            )
    ends = np.flatnonzero(marks[1:] != marks[:-1]) + 1 if how == "index" else np.flatnonzero(marks[:-1]) + 1
    return [slice(a, b) for a, b in zip([0, *ends], [*ends, n], strict=True)]
