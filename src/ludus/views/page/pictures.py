"""Routes that bring pictures: those that messages point to, and frames of episodes."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from fastapi import FastAPI, Query, Response
from fastapi.responses import FileResponse

from ludus.data.store import EpisodeStore
from ludus.views.page import film
from ludus.views.page.place import UNREADABLE, Place

MOST_SHEETS = 8
"""Episodes whose frames are kept, and mosaics."""
MISSING = 404
KEPT = {"cache-control": "private, max-age=3600"}
"""What an address shows never changes."""


def add_pictures(app: FastAPI, place: Place) -> None:
    """Add the routes."""

    @lru_cache(MOST_SHEETS)
    def drawn(name: str, ids: tuple[str, ...], many: bool) -> bytes:
        with place.open(name) as record:
            store = EpisodeStore(record)
            found = [store.load(id) for id in ids]
            draw = film.mosaic if many else lambda episodes, world: film.sheet(episodes[0], world)
            return place.with_world(record, lambda world: draw(found, world))

    def jpeg(name: str, ids: tuple[str, ...], many: bool) -> Response:
        try:
            return Response(drawn(name, ids, many), media_type="image/jpeg", headers=KEPT)
        except UNREADABLE as error:
            return Response(str(error), MISSING, media_type="text/plain")

    @app.get("/run/{name}/picture")
    def picture(name: str, path: str) -> Response:
        """A picture that a message of the run points to."""
        try:
            with place.open(name) as record:
                images = record.path("images").resolve()
                wanted = record.path(path).resolve()
                there = wanted.is_relative_to(images) and wanted.suffix == ".png" and wanted.is_file()
        except (*UNREADABLE, ValueError, OSError):  # a name that no file can have
            there = False
        return FileResponse(wanted, headers=KEPT) if there else Response(status_code=MISSING)

    @app.get("/run/{name}/film")
    def sheet(name: str, id: str) -> Response:
        """The frames of an episode, see `film.sheet`."""
        return jpeg(name, (id,), many=False)

    @app.get("/run/{name}/mosaic")
    def mosaic(name: str, id: Annotated[list[str], Query(max_length=film.MOSAIC)]) -> Response:
        """The last frames of several episodes, see `film.mosaic`."""
        return jpeg(name, tuple(id), many=True)
