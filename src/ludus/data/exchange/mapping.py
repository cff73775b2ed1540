"""How the columns of a dataset become a world's observations and actions: a mapping file, in TOML.

caption = "push the cube"                  # of every episode; or
caption_column = "task"                    # a column of text: where it changes, another command begins
terminal = "next.done"                     # a column: true in an episode's last row where it ended for good
control_hz = 10                            # where the dataset does not say it
actions = { column = "action", low = -0.05, high = 0.05 }   # at -1 and 1; by default they are within these
                                           # actions = ["arm[0:3]", "gripper"] puts columns side by side
[observations.gripper]                     # a group of the world: its fields
position = "observation.state[0:3]"        # a column, 'name[2]', 'name[0:3]', 'name[3,0,1]', or a list of such
width = { column = "observation.state[6]", scale = 0.001, offset = 0 }
[observations.red]
position = "objects[0:3]"
size = 0.04                                # a constant

[captions]                                 # a text of the dataset -> the caption of a skill
"Pick up the red block." = "lift red"

[episodes]                                 # of one .npz file with several episodes, one of:
index = "episode"                          # the number of its episode, in each row
last = "timeouts"                          # true in the last row of each

What is left out comes from the dataset's own description, see `ColumnMapping.completed`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ludus.data.exchange.dataset import Dataset
from ludus.types import Field, LudusError, Observations, WorldSpec, unknown

KEYS = ("caption", "caption_column", "terminal", "control_hz", "actions", "observations", "captions", "episodes")
SEPARATIONS = ("index", "last")
"""Keys of [episodes]."""
_TEXTS, _TABLES = ("caption", "caption_column", "terminal"), ("observations", "captions", "episodes")
_COLUMN = re.compile(r"(?P<name>.+?)(\[(?P<at>[-\d:, ]+)\])?")


@dataclass(frozen=True)
class Part:
    """Where the numbers of a field, or of all actions, come from."""

    columns: tuple[str, ...] = ()
    """Side by side; each a name, or a name with indices in brackets."""
    constant: tuple[float, ...] = ()
    """In place of columns."""
    scale: float = 1.0
    offset: float = 0.0
    low: float | tuple[float, ...] | None = None  # of actions: what is at -1
    high: float | tuple[float, ...] | None = None  # and at 1

    def read(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """`[N, k]` float64; of a constant `[1, k]`.

        Raises:
            LudusError: no such column or entry, or no numbers.
        """
        found = [_numbers(column, columns) for column in self.columns] or [np.array([self.constant], np.float64)]
        if len({len(part) for part in found}) > 1:
            rows = " and ".join(f"{len(p)} of {c!r}" for p, c in zip(found, self.columns, strict=True))
            raise LudusError(f"there are {rows} rows side by side; give columns of one length")
        values = np.concatenate(found, axis=1) * self.scale + self.offset
        if self.low is None or self.high is None:
            return values
        low, high = np.atleast_1d(self.low), np.atleast_1d(self.high)
        for bound in (low, high):
            if len(bound) not in (1, values.shape[1]):
                raise LudusError(
                    f"actions: {len(bound)} bounds for {values.shape[1]} entries; give one, or one for each"
                )
        return (values - low) / (high - low) * 2 - 1


@dataclass(frozen=True)
class ColumnMapping:
    """A mapping file, or what a dataset says of itself."""

    observations: Mapping[str, Mapping[str, Part]] = field(default_factory=dict)
    actions: Part | None = None
    caption: str | None = None
    caption_column: str | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    terminal: str | None = None
    control_hz: float = 0
    episodes: Mapping[str, str] = field(default_factory=dict)

    def completed(self, dataset: Dataset, spec: WorldSpec) -> ColumnMapping:
        """With what the dataset says in place of what was left out: the column of actions and that of captions, the control rate,
        and parts that are called like a field, 'red.position', or like its entries, 'red.position.0' ...

        Raises:
            LudusError: a group or field that the world does not have, or one that is found nowhere.
        """
        groups = spec.observation.by_name
        for group, fields in self.observations.items():
            if group not in groups:
                raise unknown(f"group of world {spec.name!r}", group, tuple(groups))
            for name in fields:
                if name not in groups[group].slices:
                    raise unknown(f"field of group {group!r}", name, tuple(groups[group].slices))
        observations = {
            g.name: {
                f.name: self.observations.get(g.name, {}).get(f.name) or _own(dataset, g.name, f) for f in g.fields
            }
            for g in spec.observation.groups
        }
        return replace(
            self,
            observations=observations,
            actions=self.actions or Part((dataset.actions,), **_bounds(dataset)),
            caption_column=self.caption_column or (dataset.captions if self.caption is None else None),
            control_hz=self.control_hz or dataset.control_hz,
        )

    def read(self, spec: WorldSpec, columns: Mapping[str, np.ndarray]) -> tuple[Observations, np.ndarray, bool]:
        """Observations `[T+1, size]` per group, actions `[T, A]`, both float32, and whether it ended for good; of a completed
        mapping. Where a dataset has an action for its last observation too, that one is left out.

        Raises:
            LudusError: what is read is not of the declared size, or not of one length.
        """
        assert self.actions is not None
        groups, actions = spec.observation.groups, self.actions.read(columns)
        if actions.shape[1] != len(spec.actions):
            raise LudusError(
                f"{self.actions.columns} have {actions.shape[1]} entries, the world's actions are {spec.actions}; choose some by "
                "actions = 'column[0:3]' in the mapping"
            )
        fields = [(g.name, f, self.observations[g.name][f.name].read(columns)) for g in groups for f in g.fields]
        n_rows = max(len(values) for _, _, values in fields)
        n_steps = n_rows - 1
        for group, f, values in fields:
            if values.shape[1] != f.size or len(values) not in (1, n_rows):
                raise LudusError(
                    f"field {f.name!r} of group {group!r} is read as {len(values)} rows of {values.shape[1]} numbers, it has "
                    f"{n_rows} of {f.size}; choose entries, as in 'column[0:3]', or mend the data"
                )
        if len(actions) not in (n_steps, n_rows):
            raise LudusError(
                f"there are {len(actions)} actions for {n_rows} observations; give as many, or one less: episodes of a file "
                "may need [episodes] in the mapping"
            )
        observations = {
            g.name: np.concatenate(
                [np.broadcast_to(values, (n_rows, f.size)) for group, f, values in fields if group == g.name], axis=1
            ).astype(np.float32)
            for g in groups
        }
        ends = self.terminal is not None and n_steps > 0 and bool(_numbers(self.terminal, columns)[n_steps - 1].any())
        return observations, actions[:n_steps].astype(np.float32), ends

    def texts(self, columns: Mapping[str, np.ndarray], n_steps: int) -> list[str]:
        """What the robot was told in each of the steps. Where the column ends before them, the last text goes on.

        Raises:
            LudusError: no caption is given, or the column has other rows.
        """
        if self.caption is not None:
            return [self.caption] * n_steps
        if self.caption_column is None:
            raise LudusError(
                "nothing says what the robot was told; give --caption TEXT, or caption_column in the mapping"
            )
        column = _column(self.caption_column, columns)
        if not 0 < len(column) <= n_steps + 1:
            raise LudusError(
                f"column {self.caption_column!r} has {len(column)} rows for {n_steps} steps; mend the data"
            )
        texts = [self.captions.get(str(text), str(text)) for text in column[:n_steps]]
        return texts + texts[-1:] * (n_steps - len(texts))


# --- reading the file ------------------------------------------------------------------------------------------------


def read_mapping(path: Path) -> ColumnMapping:
    """
    Raises:
        LudusError: no such file, not TOML, a key that is unknown, or a value that says nothing.
    """
    try:
        if not path.is_file():  # /dev/zero never ends
            raise LudusError(f"there is no mapping file {path}; docs/data.md has an example")
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LudusError(f"cannot read the mapping {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise LudusError(f"the mapping {path} is not TOML: {error}") from None
    try:
        return _mapping(found)
    except LudusError as error:
        raise LudusError(f"mapping {path}: {error}") from None


def _mapping(found: Mapping[str, Any]) -> ColumnMapping:
    for key, value in found.items():
        if key not in KEYS:
            raise unknown("key", key, KEYS)
        wanted = str if key in _TEXTS else dict if key in _TABLES else object
        if not isinstance(value, wanted):
            raise LudusError(f"{key} = {value!r} is no {'text' if wanted is str else 'table'}")
    for name in found.get("episodes", ()):
        if name not in SEPARATIONS:
            raise unknown("key of [episodes]", name, SEPARATIONS)
    for text, caption in (*found.get("captions", {}).items(), *found.get("episodes", {}).items()):
        if not isinstance(caption, str):
            raise LudusError(f"{text!r} = {caption!r} is no text")
    rate = found.get("control_hz", 0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < np.inf:
        raise LudusError(f"control_hz = {rate!r} is no rate; give steps per second")
    observations = dict[str, dict[str, Part]]()
    for group, fields in found.get("observations", {}).items():
        if not isinstance(fields, dict):
            raise LudusError(f"observations.{group} = {fields!r} is no table of fields")
        observations[group] = {name: _part(f"observations.{group}.{name}", value) for name, value in fields.items()}
    actions = _part("actions", found["actions"], ("low", "high")) if "actions" in found else None
    if actions is not None and (not actions.columns or (actions.low is None) != (actions.high is None)):
        raise LudusError("actions must name a column, and both or neither of low and high")
    plain = {key: found[key] for key in (*_TEXTS, "captions", "episodes") if key in found}
    return ColumnMapping(observations, actions, control_hz=rate, **plain)


def _part(name: str, value: Any, more: Sequence[str] = ()) -> Part:
    keys: dict[str, Any] = {"column": None, "scale": 1.0, "offset": 0.0} | dict.fromkeys(more)
    table = value if isinstance(value, dict) else {"column": value}
    for key in table:
        if key not in keys:
            raise LudusError(f"{name}: {unknown('key', key, tuple(keys))}")
    given = keys | table
    column = given.pop("column")
    several = column if isinstance(column, list) else [column]
    numbers: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    wrong = [
        v for n in numbers.values() for v in (n if isinstance(n, tuple) else [n]) if not (v is None or _is_number(v))
    ]
    if wrong:
        raise LudusError(f"{name}: {wrong[0]!r} is no number")
    if several and all(isinstance(c, str) and _COLUMN.fullmatch(c) for c in several):
        return Part(tuple(several), **numbers)
    if several and all(map(_is_number, several)):
        return Part(constant=tuple(map(float, several)), **numbers)
    raise LudusError(f"{name} = {value!r} names no column and is no number; give 'column', 'column[0:3]' or a constant")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- columns ---------------------------------------------------------------------------------------------------------


def _own(dataset: Dataset, group: str, f: Field) -> Part:
    """Where the dataset itself says that a field is."""
    name = f"{group}.{f.name}"
    entries = [name] if f.size == 1 or name in dataset.named else [f"{name}.{i}" for i in range(f.size)]
    if missing := [e for e in entries if e not in dataset.named]:
        raise LudusError(
            f"nothing in it is called {missing[0]!r}; say in a --mapping FILE where it is, under [observations.{group}]: "
            f'{f.name} = "column"'
        )
    return Part(tuple(dataset.named[e] for e in entries))


def _bounds(dataset: Dataset) -> dict[str, Any]:
    """Those of a bounded space of actions."""
    space = dataset.spaces[1] if dataset.spaces else None
    low, high = (getattr(space, side, None) for side in ("low", "high"))
    if low is None or high is None or not (np.isfinite(low).all() and np.isfinite(high).all()):
        return {}
    if (low == -1).all() and (high == 1).all():
        return {}  # to the same bits
    return {"low": tuple(map(float, low.ravel())), "high": tuple(map(float, high.ravel()))}


def _column(name: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    if name not in columns:
        raise unknown("column", name, tuple(columns))
    return columns[name]


def _numbers(text: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """`[N, k]` of a column, or of some entries of it."""
    match = _COLUMN.fullmatch(text)
    assert match
    name, at = (text, None) if text in columns else (match["name"], match["at"])
    values = _column(name, columns)
    if values.dtype.kind not in "biuf":
        raise LudusError(f"column {name!r} is {values.dtype}; choose one of numbers")
    rows = values.reshape(len(values), -1)
    if at is None:
        return rows.astype(np.float64)
    try:
        picked = [i for word in at.split(",") for i in _indices(word, rows.shape[1])]
        return rows[:, picked].astype(np.float64)
    except (ValueError, IndexError):
        raise LudusError(f"column {name!r} has {rows.shape[1]} entries, no [{at}]; choose among them") from None


def _indices(word: str, size: int) -> range:
    if ":" not in word:
        return range(int(word), int(word) + 1)
    first, last = (int(w) if w.strip() else d for w, d in zip(word.split(":"), (0, size), strict=True))
    if last > size:
        raise IndexError
    return range(first, last)
