"""Datasets of LeRobot in its layout 3.0, read and written with pyarrow; of videos and images nothing is read.

data/chunk-000/file-000.parquet           a row per frame; the episodes one after the other
meta/info.json                            version, rate, features: name -> dtype, shape, names of the entries
meta/stats.json                           least, largest, mean, deviation and count of each numeric feature
meta/tasks.parquet                        task, task_index
meta/episodes/chunk-000/file-000.parquet  a row per episode: where its frames are, its tasks, its own statistics
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ludus.data.exchange.dataset import KEPT, Dataset, Recorded, checksum, needs, read_kept
from ludus.types import LudusError

VERSION = "v3.0"
FILE_MB, FILES_PER_CHUNK = 100, 1000
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
LAST = "last"
"""Key of what is kept of an episode: its last observation, after the last frame, per column."""
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Features that every dataset has."""


# --- reading ---------------------------------------------------------------------------------------------------------


def read_lerobot(directory: Path) -> Dataset:
    """The dataset in this folder.

    Raises:
        LudusError: pyarrow is not installed, no dataset of this version, or files that are missing or broken.
    """
    with needs("pyarrow", "lerobot"):
        import pyarrow.parquet  # noqa: F401
    try:
        info = json.loads((directory / "meta" / "info.json").read_text())
        version, features, hz = str(info["codebase_version"]), dict(info["features"]), float(info["fps"])
        pictures = {name for name, feature in features.items() if feature["dtype"] in ("video", "image")}
        if "episode_index" not in features:
            raise KeyError("episode_index")
    except OSError as error:
        raise LudusError(f"{directory} holds no LeRobot dataset: meta/info.json: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LudusError(f"{directory}/meta/info.json is broken ({error!r}); fetch it again") from None
    if not version.startswith("v3"):
        raise LudusError(f"{directory} is of LeRobot's version {version}; convert it to v3.0 with LeRobot's own script")
    tables, meta = sorted(directory.glob("data/*/*.parquet")), sorted(directory.glob("meta/episodes/*/*.parquet"))
    if not tables or not meta:
        raise LudusError(f"{directory} has no {'data' if meta else 'meta/episodes'}/*/*.parquet; fetch it whole")
    tasks = _tasks(directory / "meta" / "tasks.parquet")
    index = {
        row["episode_index"]: row
        for path in meta
        for row in _table(path, ("episode_index", "length", KEPT)).to_pylist()
    }

    def episodes() -> Iterator[Recorded]:
        for path in tables:
            table = _table(path, [name for name in features if name not in pictures])
            columns = {name: _array(path, name, table[name]) for name in table.column_names}
            if "task_index" in columns and tasks:
                columns["task"] = np.array([tasks.get(int(i), "") for i in columns["task_index"]], object)
            numbers = columns["episode_index"]
            starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(numbers)]
            for a, z in pairwise(starts):
                number = int(numbers[a])
                row = index.get(number, {})
                if row.get("length") != z - a:
                    said = f"{row['length']} frames" if "length" in row else "nothing"
                    raise LudusError(
                        f"{directory}, episode {number}: {z - a} frames, meta/episodes says {said}; fetch it again"
                    )
                yield _recorded(f"episode {number}", {name: v[a:z] for name, v in columns.items()}, row.get(KEPT))

    return Dataset(
        name=f"LeRobot dataset {directory}",
        n_episodes=len(index),
        episodes=episodes,
        checksum=checksum([directory / "meta" / "info.json", *meta, *tables]),
        actions="action",
        captions="subtask" if "subtask" in features else "task" if tasks else None,
        control_hz=hz,
        named=dict(_named(features)),
    )


def _recorded(name: str, columns: dict[str, np.ndarray], kept: str | None) -> Recorded:
    """With the last observation behind the others, where one is kept."""
    if kept is None:
        return Recorded(name, columns)
    found = read_kept(kept, name)
    for column, row in found.pop(LAST, {}).items():
        last = np.asarray(row, columns[column].dtype).reshape(1, *columns[column].shape[1:])
        columns[column] = np.concatenate([columns[column], last])
    return Recorded(name, columns, found)


def _table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A Parquet file, of which those of these columns that there are."""
    import pyarrow
    from pyarrow import parquet

    try:
        there = parquet.read_schema(path).names
        return parquet.read_table(path, columns=None if columns is None else [c for c in columns if c in there])
    except (OSError, pyarrow.ArrowException) as error:
        raise LudusError(f"cannot read {path} ({error}); fetch it again") from None


def _array(path: Path, name: str, column: Any) -> np.ndarray:
    """`[N]` or `[N, k]` of a column; texts as objects."""
    import pyarrow

    n, chunk = len(column), column.combine_chunks()
    if pyarrow.types.is_string(chunk.type) or pyarrow.types.is_large_string(chunk.type):
        return np.array(chunk.to_pylist(), object)
    nested = False
    while isinstance(chunk, pyarrow.ListArray | pyarrow.LargeListArray | pyarrow.FixedSizeListArray):
        sizes = set(chunk.value_lengths().to_pylist())
        if len(sizes) != 1 or None in sizes:
            raise LudusError(f"{path}: rows of {name!r} have {sizes} numbers; each needs as many")
        chunk, nested = chunk.flatten(), True
    flat = np.asarray(chunk.to_numpy(zero_copy_only=False))
    return flat.reshape(n, -1) if nested else flat


def _tasks(path: Path) -> dict[int, str]:
    """Of each index; the column of texts is called 'task', or it is a nameless index of pandas."""
    if not path.is_file():
        return {}
    table = _table(path)
    text = next((name for name in table.column_names if name != "task_index"), "task_index")
    return {int(row["task_index"]): str(row[text]) for row in table.to_pylist()}


def _named(features: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of features' entries, and where they are."""
    for column, feature in features.items():
        names = feature.get("names")
        names = [n for part in names.values() for n in part] if isinstance(names, dict) else names or ()
        yield column, column
        yield from ((str(name), f"{column}[{i}]") for i, name in enumerate(names))


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frames:
    """An episode of a dataset to be written."""

    columns: Mapping[str, np.ndarray | Sequence[str]]  # feature -> [T, k] float32, [T] bool, or T texts
    task: str
    last: Mapping[str, np.ndarray]  # observation -> [k], after the last action
    kept: Mapping[str, Any]  # JSON


def write_lerobot(
    directory: Path, hz: float, names: Mapping[str, Sequence[str] | None], episodes: Iterable[Frames]
) -> int:
    """Write a dataset to a folder; returns the number of its episodes.

    Args:
        names: feature -> what its entries are called; None of one text or truth per frame.

    Raises:
        LudusError: pyarrow is not installed.
    """
    with needs("pyarrow", "lerobot"):
        import pyarrow  # noqa: F401
    writer = _Writer(directory, hz, names)
    try:
        for frames in episodes:
            writer.add(frames)
    finally:
        writer.close()
    writer.write_meta()
    return len(writer.rows)


class _Writer:
    """Adds episodes to files of at most `FILE_MB`; what describes the dataset is written last, so that half of one is none."""

    def __init__(self, directory: Path, hz: float, names: Mapping[str, Sequence[str] | None]) -> None:
        self.directory, self.hz, self.rows, self.n_frames = directory, hz, list[dict[str, Any]](), 0
        self._features = {
            name: {"dtype": "", "shape": [1 if own is None else len(own)], "names": own and list(own)}
            for name, own in names.items()
        }
        self._tasks, self._file, self._n_bytes, self._place = dict[str, int](), None, 0, (0, -1)

    def add(self, frames: Frames) -> None:
        import pyarrow as pa

        number, n = len(self.rows), len(next(iter(frames.columns.values())))
        counters = {
            "timestamp": (np.arange(n) / self.hz).astype(np.float32),
            "frame_index": np.arange(n),
            "episode_index": np.full(n, number),
            "index": self.n_frames + np.arange(n),
            "task_index": np.full(n, self._tasks.setdefault(frames.task, len(self._tasks))),
        }
        columns = {**frames.columns, **counters}
        for name, values in columns.items():
            about = self._features.setdefault(name, {"dtype": "", "shape": [1], "names": None})
            about["dtype"] = str(values.dtype) if isinstance(values, np.ndarray) else "string"
        self._write(pa.table({name: _column(values) for name, values in columns.items()}))
        stats = {
            f"stats/{name}/{what}": found
            for name, values in columns.items()
            if isinstance(values, np.ndarray)
            for what, found in _stats(values).items()
        }
        kept = json.dumps({**frames.kept, LAST: {name: row.tolist() for name, row in frames.last.items()}})
        self.rows.append(
            {"episode_index": number, "tasks": [frames.task], "length": n}
            | {"data/chunk_index": self._place[0], "data/file_index": self._place[1]}
            | {"dataset_from_index": self.n_frames, "dataset_to_index": self.n_frames + n}
            | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0, KEPT: kept, **stats}
        )
        self.n_frames += n

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write_meta(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        meta = self.directory / "meta"
        (meta / "episodes" / "chunk-000").mkdir(parents=True, exist_ok=True)
        parquet.write_table(
            pa.Table.from_pylist(self.rows), meta / "episodes" / PLACE.format(chunk_index=0, file_index=0)
        )
        # LeRobot reads it with pandas, whose index the texts are
        text = {
            "name": "task",
            "field_name": "task",
            "pandas_type": "unicode",
            "numpy_type": "object",
            "metadata": None,
        }
        number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
        pandas = {"index_columns": ["task"], "column_indexes": [], "columns": [{**number, "metadata": None}, text]}
        tasks = pa.table({"task_index": list(self._tasks.values()), "task": list(self._tasks)})
        tasks = tasks.replace_schema_metadata({"pandas": json.dumps(pandas)})
        parquet.write_table(tasks, meta / "tasks.parquet")
        (meta / "stats.json").write_text(json.dumps(self._stats(), indent=4))
        info = {
            "codebase_version": VERSION,
            "robot_type": None,
            "total_episodes": len(self.rows),
            "total_frames": self.n_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": FILE_MB,
            "fps": int(self.hz) if self.hz == int(self.hz) else self.hz,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": "data/" + PLACE,
            "video_path": None,
            "features": self._features,
        }
        (meta / "info.json").write_text(json.dumps(info, indent=4))

    def _write(self, table: Any) -> None:
        from pyarrow import parquet

        if self._file is None or self._n_bytes + table.nbytes > FILE_MB << 20:
            self.close()
            chunk, file = self._place
            self._place, self._n_bytes = (chunk + (file + 1) // FILES_PER_CHUNK, (file + 1) % FILES_PER_CHUNK), 0
            path = self.directory / "data" / PLACE.format(chunk_index=self._place[0], file_index=self._place[1])
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = parquet.ParquetWriter(path, table.schema)
        self._file.write_table(table)
        self._n_bytes += table.nbytes

    def _stats(self) -> dict[str, dict[str, list[float]]]:
        """Of all episodes, from their own."""
        found = {}
        for name in {key.split("/")[1] for row in self.rows for key in row if key.startswith("stats/")}:
            own = {
                w: np.array([row[f"stats/{name}/{w}"] for row in self.rows])
                for w in ("min", "max", "mean", "std", "count")
            }
            share = own["count"] / own["count"].sum()
            mean = (share * own["mean"]).sum(axis=0)
            std = np.sqrt((share * (own["std"] ** 2 + (own["mean"] - mean) ** 2)).sum(axis=0))
            whole = {"min": own["min"].min(axis=0), "max": own["max"].max(axis=0), "mean": mean, "std": std}
            found[name] = {w: v.tolist() for w, v in (whole | {"count": own["count"].sum(axis=0)}).items()}
        return found


def _stats(values: np.ndarray) -> dict[str, list[Any]]:
    """`[k]` each, of `[T, k]` or `[T]`."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    found: dict[str, list[Any]] = {what: getattr(rows, what)(axis=0).tolist() for what in ("min", "max", "mean", "std")}
    return found | {"count": [len(rows)]}


def _column(values: np.ndarray | Sequence[str]) -> Any:
    """An Arrow array: lists of one length of `[T, k]`, numbers of `[T]` and `[T, 1]`."""
    import pyarrow as pa

    if not isinstance(values, np.ndarray):
        return pa.array(list(values), pa.string())
    if values.ndim == 1 or values.shape[1] == 1:
        return pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
