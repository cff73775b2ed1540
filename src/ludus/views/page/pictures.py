"""Routes that bring files: pictures that messages point to, frames of episodes, and episodes for Rerun."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from fastapi.responses import FileResponse

from ludus.data.store import EpisodeStore
from ludus.types import Episode, LudusError
from ludus.views import queries, rerun
from ludus.views.page import film
from ludus.views.page.place import UNREADABLE, Place
from ludus.worlds.base import World

MOST_SHEETS = 8
"""Episodes whose frames are kept, and mosaics."""
MISSING = 404
At = Annotated[int, Query(ge=0)]
KEPT = {"cache-control": "private, max-age=3600"}
"""What an address shows never changes."""


def add_pictures(app: FastAPI, place: Place) -> None:
    """Add the routes."""

    @lru_cache(MOST_SHEETS)
    def drawn(name: str, ids: tuple[str, ...], draw: Callable[..., bytes], *part: int | None) -> bytes:
        with place.open(name) as record:
            store = EpisodeStore(record)
            found = [store.load(id) for id in ids]
            return place.with_world(record, lambda world: draw(found, world, *part))

    def jpeg(*what: Any) -> Response:
        try:
            return Response(drawn(*what), media_type="image/jpeg", headers=KEPT)
        except UNREADABLE as error:
            return Response(str(error), MISSING, media_type="text/plain")

    @app.get("/run/{name}/picture")
    def picture(name: str, path: str) -> Response:
        """A picture that a message of the run points to."""
        try:
            with place.open(name) as record:
                images = record.path("images").resolve()
                wanted = record.path(path).resolve()
                if wanted.is_relative_to(images) and wanted.suffix == ".png" and wanted.is_file():
                    return FileResponse(wanted, headers=KEPT)
        except (*UNREADABLE, ValueError, OSError):  # a name that no file can have
            pass
        return Response(status_code=MISSING)

    @app.get("/run/{name}/film")
    def sheet(name: str, id: str, first: At = 0, last: At | None = None) -> Response:
        """The frames of an episode, or of a part of it, see `film.sheet`."""
        return jpeg(name, (id,), _sheet, first, last)

    @app.get("/run/{name}/mosaic")
    def mosaic(name: str, id: Annotated[list[str], Query(max_length=film.MOSAIC)]) -> Response:
        """The last frames of several episodes, see `film.mosaic`."""
        return jpeg(name, tuple(id), film.mosaic)

    @app.get("/run/{name}/recording")
    def recording(name: str, id: str) -> Response:
        """An episode as a file that Rerun shows, see `rerun.recording`."""
        try:
            with place.open(name) as record:
                entry, episode, library = (
                    queries.episode_entry(record, id),
                    EpisodeStore(record).load(id),
                    place.library(record),
                )
                assert entry is not None  # it has been loaded
                data = place.with_world(record, lambda world: rerun.recording(record, entry, episode, world, library))
        except UNREADABLE as error:
            return Response(str(error), MISSING, media_type="text/plain")
        named = {"content-disposition": f'attachment; filename="{rerun.file_name(id)}"'}
        return Response(data, media_type="application/octet-stream", headers={**KEPT, **named})


def _sheet(episodes: list[Episode], world: World, first: int, last: int | None) -> bytes:
    (episode,) = episodes
    last = episode.n_steps if last is None else last
    if first < last <= episode.n_steps:
        return film.sheet(episode, world, first, last)
    raise LudusError(f"no observations {first} to {last} of episode {episode.id!r}, which ends at {episode.n_steps}")
