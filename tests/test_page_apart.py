"""One run keeps nobody from another: databases that are damaged, locked or silent, runs made anew, what is asked once."""

import shutil
import socket
import sqlite3
import time
from threading import Event

import pytest
import sqlalchemy as sa
from postgresql import schema
from record_parts import use_all
from sqlalchemy import event
from test_page import place_of, until
from test_views import make

from ludus.config import override, preset
from ludus.lab.oversight import say
from ludus.record import Record
from ludus.record.database import connect
from ludus.record.location import Location
from ludus.types import LudusError, Message
from ludus.views import queries
from ludus.views.page import content, present, runs
from ludus.views.page.folder import Folder
from ludus.views.page.patience import PATIENCE_S, Asked, Silent
from ludus.views.page.place import Place
from ludus.views.page.rendering import mark

SOON_S = 2 * PATIENCE_S
"""A page is there, on a machine that does other things too."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make(folder / "first")
    return folder / "first"


@pytest.fixture
def folder(tmp_path, made):
    shutil.copytree(made, tmp_path / "runs" / "first")
    return tmp_path / "runs"


@pytest.fixture
def silent():
    """The URL of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql+psycopg://ludus@127.0.0.1:{server.getsockname()[1]}/runs"


def waits_for(work):
    """What `work` returns or raises, and the seconds that it took."""
    began = time.monotonic()
    try:
        found = work()
    except LudusError as error:
        found = error
    return found, time.monotonic() - began


# --- databases that cannot be read -------------------------------------------------------------------------------


def test_a_link_to_a_run_is_a_run_of_that_name(folder, tmp_path):
    (folder / "other").symlink_to(shutil.copytree(folder / "first", tmp_path / "elsewhere"))
    place = Place(folder)
    shown = runs.index(place, {})
    assert "/run/other" in shown and "/run/elsewhere" not in shown
    assert "unknown run" not in runs.compare(place, ["first", "other"])


def test_a_damaged_file_is_a_row_of_the_list_and_nothing_to_the_others(folder, monkeypatch):
    shutil.copytree(folder / "first", folder / "torn")
    whole = (folder / "torn" / "ludus.db").read_bytes()
    (folder / "torn" / "ludus.db").write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    place = place_of(folder, monkeypatch)
    by_name = {line.name: line for line in place.lines()}
    assert by_name["first"].state == "done" and "restore the run from a copy" in (by_name["torn"].error or "")
    page = runs.index(place, {})
    assert "cannot be read" in page and "Finished" in page
    with pytest.raises(LudusError):
        place.pulse("torn")
    assert "Finished" in content.head(place, "first", "now")


def test_a_file_that_is_locked_is_said_to_be(folder):
    shutil.copytree(folder / "first", folder / "held")
    with sqlite3.connect(folder / "held" / "ludus.db", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute("BEGIN EXCLUSIVE")
        lines, took = waits_for(Place(folder).lines)
        assert {line.name for line in lines if line.error and "locked by somebody" in line.error} == {"held"}
        assert took < SOON_S
        database.execute("ROLLBACK")
    database.close()


def test_a_server_that_never_answers_keeps_nobody_waiting(folder, silent, monkeypatch):
    pytest.importorskip("psycopg")
    for name in ("far", "away"):
        (folder / name).mkdir()
        Location.new(folder / name, silent, name).write(folder / name)
    place = place_of(folder, monkeypatch)
    lines, took = waits_for(place.lines)
    assert {line.name: bool(line.error) for line in lines} == {"first": False, "far": True, "away": True}
    assert took < SOON_S and all("has not answered" in line.error for line in lines if line.error)
    page, took = waits_for(lambda: runs.index(place, {}))
    assert "cannot be read" in page and "Finished" in page and took < SOON_S
    error, took = waits_for(lambda: place.pulse("far"))
    assert isinstance(error, Silent) and took < SOON_S
    error, took = waits_for(lambda: content.head(place, "far", "now"))
    assert isinstance(error, Silent) and took < PATIENCE_S  # whoever comes later waits no longer
    assert "Finished" in content.head(place, "first", "now")


def test_many_runs_of_a_server_are_listed_while_they_are_read(postgresql, tmp_path, monkeypatch):
    with schema(postgresql) as url:
        for k in range(4):
            Record.create(tmp_path / f"r{k}", preset("tiny"), url=url, run_id=f"r{k}").close()
        begun, rest = [], Event()

        def run_line(run):
            begun.append(run)
            assert len(begun) == 1 or rest.wait(60)
            return queries.run_line(run)

        monkeypatch.setattr("ludus.views.page.lines.FRESH_S", -1.0)
        monkeypatch.setattr("ludus.views.page.patience.PATIENCE_S", 0.5)
        monkeypatch.setattr("ludus.views.page.lines.run_line", run_line)
        place = Place(tmp_path)
        until(lambda: place.lines() and len(begun) == 2)  # the first is read then, however busy the machine is
        assert {line.name for line in place.lines() if line.error is None} == {"r3"}  # the newest
        rest.set()
        until(lambda: [line.error for line in place.lines()] == [None] * 4)
        place.close()


def test_who_waits_for_the_same_answer_asks_once():
    asked = []

    def ask():
        asked.append(time.sleep(0.05))
        return len(asked)

    question = Asked("somebody", ask)
    assert question.start(9) is question.start(9) and question.get(9) == question.get(9) == 1
    question.forget()
    assert question.get(9) == 2
    failing = Asked("somebody", lambda: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.get(9)


def test_runs_of_one_database_are_shown_and_spoken_to(database, tmp_path, monkeypatch):
    """Also after its server was started anew, which ends every connection."""
    if database.startswith("postgresql"):
        database += f"&application_name={tmp_path.name}"  # by which the server knows its connections
    for name in ("one", "two"):
        with Record.create(
            tmp_path / "runs" / name, preset("tiny"), url=database, run_id=name, command="ludus run"
        ) as record:
            use_all(record)
    place = place_of(tmp_path / "runs", monkeypatch)
    for name, value in (("lines.FRESH_S", -1.0), ("place.FRESH_S", -1.0), ("patience.PATIENCE_S", 60.0)):
        monkeypatch.setattr(f"ludus.views.page.{name}", value)
    for _ in range(2):
        assert {(line.name, line.state, line.error) for line in place.lines()} == {
            (n, "stopped", None) for n in ("one", "two")
        }
        page = runs.index(place, {})
        assert page.count(">stopped<") == 3 and page.count('class="first"') == 2 and "cannot be read" not in page
        for tab in content.TABS:
            shown = content.head(place, "one", tab) + content.body(place, "one", tab, {})
            assert 'class="state stopped' in shown and "cannot be shown" not in shown, tab
        with place.open("one") as record:
            say(record, "/pause", "Ada")
        place.renew("one")
        assert "/pause" in content.body(place, "one", "room", {}) and "/pause" not in content.body(
            place, "two", "room", {}
        )
        if database.startswith("postgresql"):
            server = sa.create_engine(sa.make_url(database).difference_update_query(["application_name"]))
            with server.connect() as connection:
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name"
                assert connection.execute(sa.text(ended), {"name": tmp_path.name}).all()
            server.dispose()
    place.close()


def test_the_page_comes_back_with_the_server(server, tmp_path, monkeypatch):
    server.start()
    Record.create(tmp_path / "runs" / "one", preset("tiny"), url=server.url, command="ludus run").close()
    place = place_of(tmp_path / "runs", monkeypatch)
    assert "stopped" in content.head(place, "one", "now")
    server.kill()
    for name, value in (("lines.FRESH_S", -1.0), ("place.FRESH_S", -1.0), ("patience.PATIENCE_S", 60.0)):
        monkeypatch.setattr(f"ludus.views.page.{name}", value)
    assert [bool(line.error) for line in place.lines()] == [True]
    place.renew("one")
    with pytest.raises(LudusError, match=r"(cannot use|has gone)"):
        content.head(place, "one", "now")
    server.start()
    # an answer that takes longer than the last one is that of the next question
    until(lambda: not place.lines()[0].error)
    place.renew("one")
    assert "stopped" in content.head(place, "one", "now")
    place.close()


def test_a_server_that_ends_under_a_run_is_said_in_a_sentence(postgresql):
    engine = connect(sa.make_url(postgresql))
    for _ in range(2):  # the next query finds a new connection
        with pytest.raises(LudusError, match=r"has gone .*then `ludus resume`"), engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    engine.dispose()


def test_a_server_that_is_not_there_is_said_in_a_sentence():
    pytest.importorskip("psycopg")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    engine = connect(sa.make_url(f"postgresql+psycopg://me:secret@127.0.0.1:{port}/runs"))
    with pytest.raises(LudusError, match=r"cannot use the database .*refused") as error, engine.connect():
        pass
    assert "secret" not in str(error.value)


# --- runs that were made anew ------------------------------------------------------------------------------------


def test_nothing_of_a_run_that_was_deleted_is_shown_of_the_one_in_its_place(tmp_path, monkeypatch):
    pytest.importorskip("nicegui")
    from fastapi import FastAPI

    from ludus.views.page import pictures

    runs_ = tmp_path / "runs"

    def begin(text, n_blocks):
        shutil.rmtree(runs_ / "same", ignore_errors=True)
        config = override(preset("tiny"), [f"world.n_blocks={n_blocks}"])
        with Record.create(runs_ / "same", config, run_id="same") as record:
            record.post(Message("m", "loop", "all", "note", text))
            (runs_ / "same" / "images" / "a.png").write_bytes(text.encode())

    begin("the first", 2)
    place, app = Place(runs_), FastAPI()
    pictures.add_pictures(app, place)
    (film,) = (r.endpoint for r in app.routes if getattr(r, "path", "") == "/run/{name}/film")
    monkeypatch.setattr(pictures.EpisodeStore, "load", lambda self, id: id)
    monkeypatch.setattr(Place, "with_world", lambda self, record, work: record.messages()[0].text.encode())

    def seen():
        with place.open("same") as record:
            return record, mark(record)

    old, of = seen()
    assert film("same", "e", of=of).body == b"the first"
    assert "the first" in content.body(place, "same", "room", {})
    kept = place.kept("same", "part", 0, lambda: "the first")
    begin("the second", 4)
    new, now = seen()
    assert (new.run_id, kept) == (old.run_id, "the first") and new is not old and now != of
    assert film("same", "e", of=now).body == b"the second" and film("same", "e", of=of).status_code == 404
    assert "the second" in content.body(place, "same", "room", {})
    assert place.kept("same", "part", 0, lambda: "the second") == "the second"
    monkeypatch.setattr("ludus.views.page.lines.FRESH_S", -1.0)
    assert [line.settings["world.n_blocks"] for line in place.lines()] == [4]
    place.close()


def test_a_directory_is_known_by_more_than_the_numbers_of_its_files(tmp_path):
    Record.create(tmp_path / "runs" / "a", preset("tiny"), run_id="a").close()
    folder = Folder(tmp_path / "runs")
    before = folder.identity("a")
    assert before == folder.identity("a")
    with Record.open(tmp_path / "runs" / "a") as record:
        record.post(Message("m", "loop", "all", "note", "more"))
    assert before == folder.identity("a")  # the same run goes on
    location = tmp_path / "runs" / "a" / "run.json"
    with location.open("r+") as file:  # the same inode
        file.write(file.read())
    assert before != folder.identity("a")


# --- what is asked once ------------------------------------------------------------------------------------------


def test_what_people_told_a_run_is_read_once_per_step(folder, monkeypatch):
    with Record.open(folder / "first") as record, record.commit("oversight/000") as opened:
        told = {"command": "veto", "argument": "r1-s0-a0", "author": "Ada", "outcome": "done", "effect": "It is."}
        opened.result = told | {"before": "round/2/collect/000", "key": "k"}
    asked = []

    @event.listens_for(sa.Engine, "before_cursor_execute")
    def heard(connection, cursor, statement, parameters, *_):
        if statement.startswith("SELECT steps.result") and "oversight" in str(parameters):
            asked.append(statement)

    place = place_of(folder, monkeypatch)
    try:
        for _ in range(2):
            content.head(place, "first", "now")
            present.gauges(place, "first")
            content.body(place, "first", "now", {})
            with place.open("first") as record:
                content.messages(place, record, "first", queries.postings(record), True)
            content.orders(place, "first")
        assert len(asked) == 1
        with Record.open(folder / "first") as record, record.commit("oversight/001") as opened:
            opened.result = told | {"command": "stop", "argument": "", "before": "round/2/collect/000", "key": "l"}
        place.renew("first")
        assert "Ada said /stop" in content.head(place, "first", "now")
        assert "Ends after this round" in content.orders(place, "first") and len(asked) == 2
    finally:
        event.remove(sa.Engine, "before_cursor_execute", heard)
