"""Importing: episodes of another project's dataset, read as a world's own, into a run that can be trained. For the record it is
a collection, see `collection.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from ludus.config import Config
from ludus.data.exchange.dataset import Dataset, Recorded
from ludus.data.exchange.lerobot import read_lerobot
from ludus.data.exchange.mapping import ColumnMapping, read_mapping
from ludus.data.exchange.minari import read_minari
from ludus.data.exchange.npz import read_npz
from ludus.data.relabel import outcomes
from ludus.data.store import EpisodeStore
from ludus.experiment.collection import asked_before
from ludus.experiment.library import begin, recorded_library
from ludus.lab.analysis import aggregate
from ludus.record import Record
from ludus.record.progress import Progress, Show
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, LudusError, Observations, Segment, SuccessCount, WorldSpec, unknown
from ludus.worlds.registry import WorldKind, world_kind

FORMATS = ("minari", "npz", "lerobot")
EPISODES_PER_SHARD = 200
TOLERANCE = 1e-3
"""By which actions may lie outside of [-1, 1]: rounding."""
RATE_TOLERANCE = 0.01
"""By which control rates may differ, as a share."""

Read = Callable[[Recorded], tuple[Observations, np.ndarray, bool]]
"""Observations `[T+1, size]`, actions `[T, A]`, whether the episode ended for good."""


@dataclass(frozen=True)
class ImportSpec:
    """What `ludus import` is asked for."""

    format: str
    sources: tuple[str, ...]
    """An id or folder of Minari, .npz files, or the folder of a LeRobot dataset."""
    name: str
    """Names the import within its record, and the actor of its episodes."""
    mapping: Path | None = None
    """A file, see `ludus.data.exchange.mapping`; None: what dataset and world say of themselves."""
    caption: str | None = None
    """Of every episode, in place of the dataset's."""


def import_episodes(record: Record, config: Config, spec: ImportSpec, show: Show | None = None) -> list[SuccessCount]:
    """The episodes of a dataset, in the step `collect/<name>/request`; returns how their commands ended, per template.

    Raises:
        LudusError: a dataset or mapping that cannot be read; an episode that is not what the world's would be: dataset, episode,
            field and what to do; a name under which something else was asked for.
    """
    mapping = None if spec.mapping is None else read_mapping(spec.mapping)
    mapping = mapping if spec.caption is None else replace(mapping or ColumnMapping(), caption=spec.caption)
    dataset = _open(spec, mapping or ColumnMapping())
    kind = world_kind(config.world)
    world = kind.make(config.world)
    try:
        library = recorded_library(record, world)
        episodes = read_episodes(dataset, mapping, kind, world.spec, library, spec.name)
        asked = {"format": spec.format, "sources": spec.sources, "mapping": mapping and asdict(mapping)}
        held = {"checksum": dataset.checksum, "seed_data": {"episodes": dataset.n_episodes}}
        request = {"actor": spec.name} | asked | held
        if not asked_before(record, spec.name, request):
            begin(record, world, library, f"importing {dataset.name}")
            _commit(record, spec.name, request, episodes, library, Progress(record, show))
        return aggregate(record.success_counts(f"collect/{spec.name}/"), library)
    finally:
        world.close()


def read_episodes(
    dataset: Dataset, mapping: ColumnMapping | None, kind: WorldKind, spec: WorldSpec, library: SkillLibrary, name: str
) -> Iterator[Episode]:
    """The dataset's episodes as those of a world.

    Args:
        mapping: None: what dataset and world say of themselves; an episode that ludus exported is then as it was.
        name: of their actor, and the start of their ids.

    Raises:
        LudusError: one that is not what the world's would be: dataset, episode, field and what to do.
    """
    is_ours = mapping is None
    try:
        mapping, read = _reader(kind, spec, dataset, mapping or ColumnMapping())
        _check_rate(mapping.control_hz, spec)
    except LudusError as error:
        raise LudusError(f"{dataset.name}: {error}") from error
    if mapping.caption is None and mapping.caption_column is None and len(library) == 1:
        mapping = replace(mapping, caption=library.captions[0])
    for i, recorded in enumerate(dataset.episodes()):
        try:
            observations, actions, is_terminal = read(recorded)
            _check_numbers(observations, actions, spec)
            if recorded.kept is not None and is_ours:
                yield _kept(recorded.kept, observations, actions, spec, library)
                continue
            segments = _segments(mapping.texts(recorded.columns, len(actions)), library)
        except LudusError as error:
            raise LudusError(f"{dataset.name}, {recorded.name}: {error}") from error
        yield Episode(
            id=f"{name}-{i:06d}",
            observations=observations,
            actions=actions,
            segments=segments,
            actor=name,
            world=spec.fingerprint,
            seed=i,
            start=spec.starts[0],
            snapshot=np.zeros(0),
            ended="terminal" if is_terminal else "time",
            info={"imported": dataset.name, "episode": recorded.name},
        )


def _open(spec: ImportSpec, mapping: ColumnMapping) -> Dataset:
    if spec.format not in FORMATS:
        raise unknown("format", spec.format, FORMATS)
    if mapping.episodes and spec.format != "npz":
        raise LudusError(f"[episodes] of {spec.mapping} separates the episodes of an .npz file; leave it out")
    if spec.format == "npz":
        return read_npz([Path(source) for source in spec.sources], mapping.episodes)
    if len(spec.sources) != 1:
        raise LudusError(
            f"{len(spec.sources)} {spec.format} datasets; import one at a time, each with a --name of its own"
        )
    return read_minari(spec.sources[0]) if spec.format == "minari" else read_lerobot(Path(spec.sources[0]))


def _reader(kind: WorldKind, spec: WorldSpec, dataset: Dataset, mapping: ColumnMapping) -> tuple[ColumnMapping, Read]:
    """How episodes are read: by the description of a Gymnasium environment, where dataset and world have one and no mapping says
    otherwise; else by the mapping."""
    groups = {group.name for group in spec.observation.groups}
    own = {name.partition(".")[0] for name in dataset.named}
    if kind.recorded is not None and dataset.spaces is not None and not mapping.observations and not groups <= own:
        if mapping.actions is not None:
            raise LudusError(
                "the mapping says actions but no observations; give both, or leave both to the world's description"
            )
        recorded, spaces = kind.recorded, dataset.spaces
        column = mapping.caption_column or (dataset.captions if mapping.caption is None else None)
        return replace(mapping, caption_column=column), lambda episode: recorded(spec, spaces, episode.columns)
    whole = mapping.completed(dataset, spec)
    return whole, lambda episode: whole.read(spec, episode.columns)


def _check_rate(control_hz: float, spec: WorldSpec) -> None:
    if control_hz and abs(control_hz / spec.control_hz - 1) > RATE_TOLERANCE:
        raise LudusError(
            f"it has {control_hz:g} steps per second, world {spec.name!r} {spec.control_hz:g}; resample it, or let the world "
            "declare its rate"
        )


def _check_numbers(observations: Observations, actions: np.ndarray, spec: WorldSpec) -> None:
    """Refuse what a world would not show or take; clips what is outside by rounding."""
    if not len(actions):
        raise LudusError("no step in it; an episode needs an action and the observation after it")
    for group in spec.observation.groups:
        values = observations[group.name]
        if not np.isfinite(values).all():
            row, at = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            name = next(n for n, part in group.slices.items() if at in range(*part.indices(group.size)))
            raise LudusError(
                f"field {name!r} of group {group.name!r} is {values[row, at]} at step {row}; leave the episode out, or mend it"
            )
    bad = ~np.isfinite(actions) | (np.abs(actions) > 1 + TOLERANCE)
    if bad.any():
        step, at = (int(i) for i in np.argwhere(bad)[0])
        raise LudusError(
            f"action {spec.actions[at]!r} is {actions[step, at]:g} at step {step}, it must be from -1 to 1; give low and high of "
            "the dataset's actions in the mapping, or mend it"
        )
    np.clip(actions, -1, 1, out=actions)


def _segments(texts: Sequence[str], library: SkillLibrary) -> tuple[Segment, ...]:
    """A segment begins where the text changes."""
    starts = [t for t, text in enumerate(texts) if not t or text != texts[t - 1]]
    for t in starts:
        _check_caption(texts[t], library)
    return tuple(Segment(t, texts[t], library[texts[t]].hash) for t in starts)


def _check_caption(text: str, library: SkillLibrary) -> None:
    if text not in library:
        raise LudusError(
            f"{unknown('caption', text, library.captions)}; give --caption TEXT, a --library FILE with it, or say which skill it "
            f'is under [captions] of a --mapping FILE: "{text}" = "CAPTION"'
        )


def _kept(
    kept: Any, observations: Observations, actions: np.ndarray, spec: WorldSpec, library: SkillLibrary
) -> Episode:
    """An episode of ludus, as it was."""
    if kept["world"] != spec.fingerprint:
        raise LudusError(
            f"it was exported from another world ({kept['world']}, this is {spec.fingerprint}); give the settings of that world, "
            "or a --mapping FILE or --caption TEXT to read it as this world's"
        )
    segments = tuple(Segment(*segment) for segment in kept["segments"])
    for segment in segments:
        _check_caption(segment.caption, library)
    names = ("id", "actor", "world", "seed", "start", "ended", "info")
    return Episode(
        observations=observations,
        actions=actions,
        segments=segments,
        snapshot=np.array(kept["snapshot"], np.float64),
        **{name: kept[name] for name in names},
    )


def _commit(
    record: Record,
    name: str,
    request: dict[str, Any],
    episodes: Iterator[Episode],
    library: SkillLibrary,
    progress: Progress,
) -> None:
    """All of them in one step, with what was asked for: of a dataset with a mistake in it nothing is kept."""
    store, n, said = EpisodeStore(record), 0, request["seed_data"]["episodes"]
    with progress.stage(f"importing {name}", said) as advance, record.commit(f"collect/{name}/request") as opened:
        opened.result = request
        for _, alike in groupby(episodes, lambda e: e.snapshot.size):  # a shard's snapshots are of one size
            while some := list(islice(alike, EPISODES_PER_SHARD)):
                store.append(some)
                record.add_outcomes(outcomes(library, some))
                n += len(some)
                advance(len(some))
        if n != said:
            raise LudusError(f"the dataset says it has {said} episodes, {n} were found; fetch it whole")
