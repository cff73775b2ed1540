"""Episodes as recordings of Rerun (rerun.io), for its viewer, which ludus neither needs nor starts: one `.rrd` file each.

What the world declares is in them: positions with turn and size as boxes, a gripper's pads, every field over time, pictures.
Besides: what was commanded, the reward of the skill that acts, the conditions of its success, and when it succeeded. A file is
made in memory and written whole, one episode after the other. The package sends nothing anywhere by this, and it opens no socket.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from ludus.data.store import EpisodeStore
from ludus.record import Record, files
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Group, LudusError
from ludus.views import queries
from ludus.views.page.film import Reel
from ludus.views.scene import Thing, things
from ludus.worlds.base import World

PICTURE_SIZE = 320
"""Pixels of a rendered frame."""
QUALITY = 82
"""Of JPEG."""
AT_ONCE = 50
"""Frames that are rendered together."""
MARKER_PIXELS = 7.0
"""Of a thing whose size the world does not declare."""
EYE, EYE_DISTANCE = (0.8, -0.25, 0.55), 1.0
"""From where the scene is looked at, of unit length: from ahead of a robot that looks along x, from its right and above; and how
far away, in diagonals of the box around what is in it."""
ALL = queries.EpisodesWanted()
SCENE, CAMERA, REWARD, CONDITIONS, TOLD, EVENTS = "scene", "camera", "reward", "conditions", "told", "events"


@dataclass(frozen=True)
class Wanted:
    """Which episodes, how many at most (the latest), and whether with rendered pictures."""

    episodes: queries.EpisodesWanted = ALL
    most: int | None = None
    pictures: bool = False


def is_installed() -> bool:
    """Whether the package that writes them is here."""
    return find_spec("rerun") is not None


def file_name(id: str) -> str:
    """Of the file of an episode."""
    return f"{quote(id, safe=' ')}.rrd"


def write_recordings(record: Record, world: World, library: SkillLibrary, directory: Path, wanted: Wanted) -> int:
    """Write episodes to a new or empty folder; returns how many they are.

    Raises:
        LudusError: no such episodes, a folder that holds something, no pictures here, or rerun-sdk is not installed.
    """
    if directory.exists() and any(directory.iterdir()):
        raise LudusError(f"{directory} is not empty; choose a new folder")
    store = EpisodeStore(record)
    if not len(store):
        raise LudusError(f"{record.directory} holds no episodes to export; collect some first")
    most = len(store) if wanted.most is None else wanted.most
    entries = queries.episodes(record, wanted.episodes, limit=most).entries
    if not entries:
        raise LudusError(f"no episode of {record.directory} is of that kind; leave out --skill, --phase or --result")
    for entry in entries:
        data = recording(record, entry, store.load(entry.id), world, library, wanted.pictures, entry is entries[0])
        files.write(directory / file_name(entry.id), data)
    return len(entries)


def recording(
    record: Record,
    entry: queries.EpisodeEntry,
    episode: Episode,
    world: World,
    library: SkillLibrary,
    pictures: bool = False,
    layout: bool = True,
) -> bytes:
    """A whole `.rrd` file with one episode.

    Args:
        layout: with what the viewer opens with. The package (0.41) keeps two threads for each layout as long as the process.

    Raises:
        LudusError: no pictures here, or rerun-sdk is not installed or switched off.
    """
    spec, attempts = world.spec, queries.traces(episode, library)
    shown = things(episode.observations, spec.observation)
    images = [g for g in spec.observation.groups if _is_image(g)]
    cameras = [g.name for g in images] + ([spec.cameras[0] if spec.cameras else "pictures"] if pictures else [])
    file = _File(f"ludus {spec.name}", f"{record.run_id}/{episode.id}", spec.control_hz)
    if layout:
        first = [thing.position[thing.present][:1] for thing in shown]
        file.blueprint(np.concatenate(first or [np.zeros((0, 3))]), cameras, bool(attempts))
    file.describe(" → ".join(s.caption for s in episode.segments) + f" ({episode.id})", _about(entry, episode))
    for thing in shown:
        _thing(file, thing)
    for group in spec.observation.groups:
        if group.is_flat:
            _fields(file, group, episode.observations[group.name])
    for group in images:
        frames = episode.observations[group.name]
        file.pictures((CAMERA, group.name), range(len(frames)), map(_jpeg, frames))
    file.scalars(("actions",), 0, episode.actions, spec.actions)
    if pictures:
        _rendered(file, cameras[-1], episode, world)
    _attempts(file, entry, episode, attempts)
    return file.close()


# --- the file ------------------------------------------------------------------------------------------------------


class _File:
    """One recording, told in columns: a value per observation, at the `step` and the `time` of it."""

    def __init__(self, application: str, id: str, control_hz: float):
        try:
            import rerun
        except ImportError:
            raise LudusError("package rerun-sdk is not installed; pip install 'ludus[rerun]'") from None
        self.rr: Any = rerun
        self._hz = control_hz
        self._to: Any = rerun.RecordingStream(application, recording_id=id, send_properties=False)
        if not rerun.is_enabled(self._to):
            raise LudusError("the environment variable RERUN switches rerun-sdk off; unset it")
        self._stream = self._to.binary_stream()

    def blueprint(self, places: np.ndarray, cameras: Sequence[str], has_rewards: bool) -> None:
        """What the viewer opens with: where things are, pictures, what was told, reward and conditions over time.

        Args:
            places: `[n, 3]` m, where things are at first; the scene is looked at from where all of them are in sight.
        """
        import rerun.blueprint as b

        seen: list[Any] = []
        if len(places):
            low, high = places.min(0), places.max(0)
            middle, far = (low + high) / 2, EYE_DISTANCE * float(np.linalg.norm(high - low) or 1.0)
            eye = b.EyeControls3D(position=middle + far * np.array(EYE), look_target=middle, eye_up=(0, 0, 1))
            seen += [b.Spatial3DView(origin=SCENE, name="scene", eye_controls=eye)]
        seen += [b.Spatial2DView(origin=_path((CAMERA, name)), name=name) for name in cameras]
        told: list[Any] = [b.TextDocumentView(origin=TOLD, name="told")]
        if has_rewards:
            axis = b.ScalarAxis(range=(-0.05, 1.05))
            told += [b.TimeSeriesView(origin=REWARD, name="reward of the skill that acts", axis_y=axis)]
            told += [b.TimeSeriesView(origin=CONDITIONS, name="conditions of its success", axis_y=axis)]
        told += [b.TextLogView(origin=EVENTS, name="events")]
        shares = [1.0, *[2.0] * (2 if has_rewards else 0), 1.0]
        right = b.Vertical(*told, row_shares=shares)
        views = b.Horizontal(b.Vertical(*seen), right, column_shares=[3, 2]) if seen else right
        panels = b.TimePanel(timeline="time", state="collapsed"), b.SelectionPanel(state="collapsed")
        whole = b.Blueprint(views, *panels, b.BlueprintPanel(state="collapsed"))
        self._to.send_blueprint(whole, make_active=False, make_default=True)

    def describe(self, name: str, properties: Mapping[str, Any]) -> None:
        self._to.send_recording_name(name)
        self._to.send_property("episode", self.rr.AnyValues(**properties))
        self._to.log(SCENE, self.rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def always(self, path: Sequence[str], what: Any) -> None:
        self._to.log(_path(path), what, static=True)

    def over_time(self, path: Sequence[str], at: Sequence[int], *columns: Any) -> None:
        """Columns with a row per observation of `at`."""
        steps = np.asarray(at, np.int64)
        column = self.rr.TimeColumn
        times = [
            column("step", sequence=steps),
            column("time", duration=np.round(steps / self._hz * 1e6).astype("timedelta64[us]")),
        ]
        self._to.send_columns(_path(path), times, [one for of in columns for one in of])

    def scalars(
        self, path: Sequence[str], first: int, rows: np.ndarray, names: Sequence[str], colour: Any = None
    ) -> None:
        """`[n, k]` numbers from the observation `first` on."""
        rows = np.asarray(rows, np.float64).reshape(len(rows), -1)
        self.always(path, self.rr.SeriesLines(names=list(names), colors=colour))
        values = self.rr.Scalars.columns(scalars=rows.ravel()).partition([rows.shape[1]] * len(rows))
        self.over_time(path, range(first, first + len(rows)), values)

    def pictures(self, path: Sequence[str], at: Sequence[int], jpegs: Any) -> None:
        blobs = list(jpegs)
        images = self.rr.EncodedImage.columns(blob=blobs, media_type=["image/jpeg"] * len(blobs))
        self.over_time(path, at, images)

    def close(self) -> bytes:
        """All of the file."""
        from rerun_bindings import flush_and_cleanup_orphaned_recordings

        self._stream.flush()
        data = self._stream.read()
        # Otherwise its threads and buffers stay as long as the process; `disconnect` would keep them for good.
        del self._stream, self._to
        flush_and_cleanup_orphaned_recordings()
        return data or b""


def _path(parts: Sequence[str]) -> str:
    import rerun

    return "/".join(map(rerun.escape_entity_path_part, parts))


# --- what is in it -------------------------------------------------------------------------------------------------


def _about(entry: queries.EpisodeEntry, episode: Episode) -> dict[str, str]:
    about = {"id": episode.id, "actor": episode.actor, "start": episode.start, "seed": episode.seed}
    about |= {"world": episode.world, "ended": episode.ended, "collected_for": entry.phase, "task": entry.task}
    return {key: str(value) for key, value in about.items() if value is not None}


def _thing(file: _File, thing: Thing) -> None:
    rr, path, at = file.rr, (SCENE, thing.name), list(range(len(thing.position)))
    if not thing.present.all():
        at, thing = np.flatnonzero(thing.present).tolist(), thing.at(thing.present)
    if not len(thing.position):
        return
    n, turn = len(thing.position), thing.quaternion[:, [1, 2, 3, 0]]
    pose = rr.Transform3D.columns(translation=thing.position, quaternion=turn)
    if thing.width is None and thing.edges is None:
        file.over_time(path, at, pose)
        size = rr.Radius.ui_points(MARKER_PIXELS)
        file.always(path, rr.Points3D([[0, 0, 0]], radii=[size], colors=[thing.colour], labels=[thing.name]))
        return
    if thing.width is not None:
        centres, half = thing.pads
        boxes = rr.Boxes3D.columns(centers=centres.reshape(-1, 3), half_sizes=np.tile(half, (2 * n, 1)))
        file.over_time(path, at, pose, boxes.partition([2] * n))
    else:
        assert thing.edges is not None
        file.over_time(path, at, pose, rr.Boxes3D.columns(half_sizes=thing.edges / 2))
    mode = "solid" if thing.movable else "majorwireframe"
    labels = None if thing.is_effector else [thing.name]
    file.always(path, rr.Boxes3D.from_fields(colors=[thing.colour], labels=labels, fill_mode=mode))


def _fields(file: _File, group: Group, rows: np.ndarray) -> None:
    for f in group.fields:
        own = rows[:, group.slices[f.name]]
        names = [f.name] if f.size == 1 else [f"{f.name}.{i}" for i in range(f.size)]
        file.scalars(("observations", group.name, f.name), 0, own, names)


def _is_image(group: Group) -> bool:
    """Whether it can be shown as a picture: [height, width], or with 3 colours."""
    shape = group.shape
    return group.dtype == "uint8" and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)))


def _jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame[..., 0] if frame.shape[2:] == (1,) else frame).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _rendered(file: _File, camera: str, episode: Episode, world: World) -> None:
    """As often as the page shows them."""
    at = range(0, episode.n_steps + 1, Reel.of(episode.n_steps, world.spec.control_hz).every)
    for first in range(0, len(at), AT_ONCE):
        some = at[first : first + AT_ONCE]
        frames = world.frames({g: rows[list(some)] for g, rows in episode.observations.items()}, size=PICTURE_SIZE)
        file.pictures((CAMERA, camera), some, map(_jpeg, frames))


def _attempts(
    file: _File, entry: queries.EpisodeEntry, episode: Episode, attempts: Sequence[queries.AttemptTrace]
) -> None:
    rr, n = file.rr, len(episode.segments)
    starts = [s.start for s in episode.segments]
    task = f"\nTask: {entry.task}" if entry.task else ""
    told = [f"{s.caption}\n\nAttempt {i} of {n}.{task}" for i, s in enumerate(episode.segments, 1)]
    file.over_time((TOLD,), starts, rr.TextDocument.columns(text=told))
    events = [(s.start, f"told: {s.caption}") for s in episode.segments]
    for i, c in enumerate(attempts, 1):
        path = f"{i} {c.caption}"
        file.scalars((REWARD, path), c.first, np.array(c.reward), [c.caption])
        for condition in c.conditions:
            holds = np.array(condition.holds, np.float64)
            file.scalars((CONDITIONS, path, condition.condition), c.first, holds, [condition.condition])
        if c.succeeded is not None:
            moment = (REWARD, path, "success")
            file.always(
                moment, rr.SeriesPoints(names=["first success"], markers="diamond", marker_sizes=[MARKER_PIXELS])
            )
            file.over_time(moment, [c.succeeded], rr.Scalars.columns(scalars=[c.reward[c.succeeded - c.first]]))
            events.append((c.succeeded, f"first success: {c.caption}"))
        events.append((c.last, f"{'success' if c.success else 'failure'} at the end: {c.caption}"))
    events.sort(key=lambda event: event[0])
    file.over_time((EVENTS,), [at for at, _ in events], rr.TextLog.columns(text=[text for _, text in events]))
