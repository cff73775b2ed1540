"""Datasets of Minari: reading any, writing one that `minari.load_dataset` opens.

Columns are called 'observations', 'actions', 'rewards', 'terminations', 'truncations' and 'infos/NAME'; entries of Dict spaces
'observations/KEY'. A text 'mission' among the observations is what the robot was told, as in Minari's own language tasks.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ludus.data.exchange.dataset import KEPT, Dataset, Recorded, checksum, needs, read_kept
from ludus.record import files
from ludus.types import LudusError

MISSION = "mission"
MAX_TEXT = 1000
"""Characters of a mission."""


def read_minari(name: str) -> Dataset:
    """The dataset of this id on this machine, or the one in the folder of this name.

    Raises:
        LudusError: minari is not installed, or there is no such dataset here.
    """
    with needs("minari", "minari"):
        import minari
    folder = Path(name)
    try:
        if folder.is_dir():
            found = minari.MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
        else:
            found = minari.load_dataset(name)
    except FileNotFoundError:
        where = os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")
        raise LudusError(
            f"no Minari dataset {name!r} in {where}; fetch it with: minari download {name}, or say where your datasets are: "
            "MINARI_DATASETS_PATH"
        ) from None
    except ImportError as error:
        raise LudusError(f"Minari dataset {name!r}: {error}") from None
    except (ValueError, TypeError, AssertionError, KeyError) as error:
        raise LudusError(f"Minari dataset {name!r} cannot be read ({error}); fetch it again") from None
    storage, order = found.storage, [int(i) for i in found.episode_indices]

    def episodes() -> Iterator[Recorded]:
        pairs = zip(found.iterate_episodes(), storage.get_episode_metadata(order), strict=True)
        for number in order:
            try:
                episode, kept = next(pairs)
            except Exception as error:  # whatever its storage meets in a broken file
                raise LudusError(
                    f"Minari dataset {name}, episode {number} cannot be read ({error!r}); fetch it again"
                ) from error
            columns = dict[str, Any](_flat("observations", episode.observations)) | dict(_flat("infos", episode.infos))
            columns |= dict(_flat("actions", episode.actions))
            columns |= {key: np.asarray(getattr(episode, key)) for key in ("rewards", "terminations", "truncations")}
            yield Recorded(
                f"episode {number}", columns, read_kept(kept[KEPT], f"episode {number}") if KEPT in kept else None
            )

    shown = list(_keys("observations", found.observation_space))
    return Dataset(
        name=f"Minari dataset {name}",
        n_episodes=found.total_episodes,
        episodes=episodes,
        checksum=checksum(sorted(p for p in Path(storage.data_path).rglob("*") if p.is_file())),
        actions="actions",
        captions=f"observations/{MISSION}" if f"observations/{MISSION}" in shown else None,
        named={key.partition("/")[2].replace("/", "."): key for key in shown},
        spaces=(found.observation_space, found.action_space),
    )


def write_minari(
    name: str, layout: Mapping[str, Mapping[str, int]], n_actions: int, episodes: Iterable[list[dict[str, Any]]]
) -> Path:
    """Write a dataset of this id to Minari's folder; returns where it lies.

    Args:
        layout: group -> field -> its size: the spaces of a Dict of Dicts.
        episodes: some at a time, each `observations` (group -> field -> `[T+1, size]`), `mission` (T+1 texts), `actions`
            `[T, A]`, `rewards`, `success`, `terminations` and `truncations` `[T]`, `seed`, and `kept`, JSON.

    Raises:
        LudusError: minari is not installed, the id is malformed or taken.
    """
    with needs("minari", "minari"):
        import minari
        from minari.storage.datasets_root_dir import get_dataset_path
    path, dataset, n = Path(get_dataset_path(name)), None, 0
    if path.exists():
        raise LudusError(f"there is a Minari dataset {name!r} already ({path}); give another name or version")
    try:
        for several in episodes:
            buffers = [_buffer(n + i, e) for i, e in enumerate(several)]
            if dataset is None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that nobody is named as its author
                    dataset = minari.create_dataset_from_buffers(name, buffers, **_about(layout, n_actions))
            else:
                dataset.storage.update_episodes(buffers)
            kept = [{KEPT: e["kept"]} for e in several]
            dataset.storage.update_episode_metadata(kept, range(n, n + len(several)))
            n += len(several)
    except BaseException as error:
        files.remove(path)
        if isinstance(error, ValueError | TypeError):
            raise LudusError(
                f"Minari refuses the name {name!r} ({error}); give one such as blocks/teacher-v0"
            ) from None
        raise
    return path


def _about(layout: Mapping[str, Mapping[str, int]], n_actions: int) -> dict[str, Any]:
    """Spaces, format and description."""
    shown: dict[str, spaces.Space] = {
        g: spaces.Dict({f: spaces.Box(-np.inf, np.inf, (n,), np.float32) for f, n in fields.items()})
        for g, fields in layout.items()
    }
    shown[MISSION] = spaces.Text(MAX_TEXT, min_length=0, charset="".join(map(chr, range(32, 127))))
    return {
        "observation_space": spaces.Dict(shown),
        "action_space": spaces.Box(-1, 1, (n_actions,), np.float32),
        "data_format": "arrow",
        "description": "Episodes of a run of ludus",
    }


def _buffer(number: int, episode: Mapping[str, Any]) -> Any:
    from minari.data_collector import EpisodeBuffer

    same = ("seed", "actions", "rewards", "terminations", "truncations")
    return EpisodeBuffer(
        id=number,
        observations=episode["observations"] | {MISSION: episode["mission"]},
        infos={"is_success": [False, *episode["success"].tolist()]},  # of each observation, as its own collector has it
        **{name: episode[name] for name in same},
    )


def _flat(name: str, values: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Entries of nested dicts and tuples, as columns."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(f"{name}/{key}", value)
    elif isinstance(values, tuple):
        for i, value in enumerate(values):
            yield from _flat(f"{name}/{i}", value)
    else:
        yield name, np.asarray(values)


def _keys(name: str, space: spaces.Space) -> Iterator[str]:
    """The columns of a space."""
    if isinstance(space, spaces.Dict):
        for key, own in space.spaces.items():
            yield from _keys(f"{name}/{key}", own)
    else:
        yield name
