"""Routes that bring files: pictures that messages point to, frames of episodes, and episodes for Rerun."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi.responses import FileResponse

from ludus.data.store import EpisodeStore
from ludus.record import Record
from ludus.types import Episode, LudusError
from ludus.views import queries, rerun
from ludus.views.page import film
from ludus.views.page.place import UNREADABLE, Place
from ludus.views.page.rendering import mark
from ludus.worlds.base import World

MOST_SHEETS = 8
"""Episodes whose frames are kept, and mosaics."""
MISSING = 404
At = Annotated[int, Query(ge=0)]
KEPT = {"cache-control": "private, max-age=3600"}
"""What an address shows never changes: it says which run it is of (`rendering.mark`)."""


def add_pictures(app: FastAPI, place: Place) -> None:
    """Add the routes."""

    def run(name: str, of: str) -> Record:
        """
        Raises:
            LudusError: no such run; another one lies there than the address was made for.
        """
        with place.open(name) as record:
            if of not in ("", mark(record)):
                raise LudusError(f"another run lies in {name} now; load the page again")
            return record

    @lru_cache(MOST_SHEETS)
    def drawn(name: str, of: str, ids: tuple[str, ...], draw: Callable[..., bytes], *part: int | None) -> bytes:
        with place.open(name) as record:
            store = EpisodeStore(record)
            found = [store.load(id) for id in ids]
            return place.with_world(record, lambda world: draw(found, world, *part))

    def jpeg(name: str, of: str, *what: Any) -> Response:
        try:
            found = drawn(name, mark(run(name, of)), *what)
            return Response(found, media_type="image/jpeg", headers=KEPT if of else None)
        except UNREADABLE as error:
            return Response(str(error), MISSING, media_type="text/plain")

    @app.get("/run/{name}/picture")
    def picture(name: str, path: str, of: str = "") -> Response:
        """A picture that a message of the run points to."""
        try:
            record = run(name, of)
            images = record.path("images").resolve()
            wanted = record.path(path).resolve()
            if wanted.is_relative_to(images) and wanted.suffix == ".png" and record.holds(path):
                return FileResponse(record.file(path), headers=KEPT if of else None)
        except (*UNREADABLE, ValueError, OSError):  # a name that no file can have
            pass
        return Response(status_code=MISSING)

    @app.get("/run/{name}/film")
    def sheet(name: str, id: str, first: At = 0, last: At | None = None, of: str = "") -> Response:
        """The frames of an episode, or of a part of it, see `film.sheet`."""
        return jpeg(name, of, (id,), _sheet, first, last)

    @app.get("/run/{name}/mosaic")
    def mosaic(name: str, id: Annotated[list[str], Query(max_length=film.MOSAIC)], of: str = "") -> Response:
        """The last frames of several episodes, see `film.mosaic`."""
        return jpeg(name, of, tuple(id), film.mosaic)

    @app.get("/run/{name}/recording")
    def recording(name: str, id: str, of: str = "") -> Response:
        """An episode as a file that Rerun shows, see `rerun.recording`."""
        try:
            run(name, of)
            data = _recording(place, name, id)
        except UNREADABLE as error:
            return Response(str(error), MISSING, media_type="text/plain")
        named = {"content-disposition": f'attachment; filename="{rerun.file_name(id)}"'}
        return Response(data, media_type="application/octet-stream", headers={**(KEPT if of else {}), **named})


def _recording(place: Place, name: str, id: str) -> bytes:
    with place.open(name) as record:
        entry, episode = queries.episode_entry(record, id), EpisodeStore(record).load(id)
        assert entry is not None  # it has been loaded
        library = place.library(record)
        return place.with_world(
            record, lambda world: rerun.recording(record, entry, episode, world, library, layout=False)
        )


def _sheet(episodes: list[Episode], world: World, first: int, last: int | None) -> bytes:
    (episode,) = episodes
    last = episode.n_steps if last is None else last
    if first < last <= episode.n_steps:
        return film.sheet(episode, world, first, last)
    raise LudusError(f"no observations {first} to {last} of episode {episode.id!r}, which ends at {episode.n_steps}")
