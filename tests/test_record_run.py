"""One run per directory, one writer per run; what is no run, or a damaged one, is refused with a sentence."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from record_parts import message, outcome

from ludus.config import preset
from ludus.record import Record
from ludus.types import LudusError


@pytest.fixture
def record(tmp_path, place):
    with Record.create(tmp_path / "run", preset("tiny"), url=place) as record:
        yield record


def change(record, statement):
    """Close it, and let somebody else write into its database."""
    record.close()
    engine = sa.create_engine(record._engine.url)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def in_a_file(tmp_path):
    with Record.create(tmp_path / "run", preset("tiny")) as record:
        yield record


@pytest.mark.parametrize("name", ["\udcff", "x" * 300, "a/" * 3000, "loop", "loop/run", "nul\0"])
def test_what_can_be_no_file_is_refused_in_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for use in (
        lambda: Record.create(name, preset("tiny")),
        lambda: Record.open(name),
        lambda: Record.create("run", preset("tiny"), url=Path(name)),
    ):
        with pytest.raises(LudusError, match=r"can be no file \(.*\); name another"):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("://", "is no URL"),
        ("postgresql://host:port/x", "is no URL"),
        ("mysql://x", "is neither SQLite nor PostgreSQL"),
        ("sqlite+foo:///x.db", "cannot be used"),
        ("postgresql+foo://x/y", "cannot be used"),
        ("sqlite:///x.db?timeout=abc", "names a file and nothing behind"),
        ("sqlite://", "is in memory, and a run ends with it"),
        ("sqlite:///:memory:", "is in memory, and a run ends with it"),
        ("sqlite:///nowhere/x.db", "the folder of the database .* is missing"),
        ("sqlite:////", "cannot use the database /"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, monkeypatch, url, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LudusError, match=words):
        Record.create("run", preset("tiny"), url=url)
    assert not list(tmp_path.iterdir())


# --- one run per directory, one writer per run -------------------------------------------------------------------


def test_a_run_remembers_what_it_is(tmp_path, place):
    config = preset("tiny")
    with Record.create(tmp_path / "run", config, url=place, command="ludus run --preset tiny"):
        pass
    with Record.open(tmp_path / "run") as record:
        assert record.config == config and record.seed == config.seed
        assert record.command == "ludus run --preset tiny" and record.versions["numpy"] == np.__version__
        assert abs(record.created - time.time()) < 60
        assert record.steps() == [] and record.last_step() is None and record.writable


def test_a_directory_holds_one_run(record):
    with record.commit("request"):
        record.post(message("m"))
    assert record.empty
    record.close()
    with Record.create(record.directory, preset("cpu")) as record:  # a run without episodes gives way
        assert record.config == preset("cpu") and record.steps() == record.messages() == [] and record.empty
        record.add_outcomes([outcome("e1")])
        assert not record.empty
    with pytest.raises(LudusError, match="already holds a run; continue it with `ludus resume"):
        Record.create(record.directory, preset("tiny"))


def test_a_second_writer_is_turned_away_with_the_owners_pid(record):
    program = "import sys; from ludus.record import Record; Record.open(sys.argv[1])"
    found = subprocess.run([sys.executable, "-c", program, record.directory], capture_output=True, text=True)
    assert f"is already running (pid {os.getpid()}); wait for it" in found.stderr
    with pytest.raises(LudusError, match="is already running"):
        Record.open(record.directory)
    with pytest.raises(LudusError, match="is already running"):
        Record.create(record.directory, preset("tiny"))
    record.close()
    Record.open(record.directory).close()


def test_the_lock_dies_with_its_process(tmp_path, place):
    program = """
import sys, time
from ludus.config import preset
from ludus.record import Record
record = Record.create(sys.argv[1], preset("tiny"), url=sys.argv[2] or None)
print("ready", flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", program, tmp_path, place or ""], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None and owner.stdout.readline() == "ready\n"
    with pytest.raises(LudusError, match=rf"pid {owner.pid}\)"):
        Record.open(tmp_path)
    owner.kill()
    owner.communicate()
    Record.open(tmp_path).close()


@pytest.mark.parametrize("write", [True, False])
def test_what_is_no_run_is_refused(tmp_path, write):
    with pytest.raises(LudusError, match=r"nowhere does not exist; .*ludus collect"):
        Record.open(tmp_path / "nowhere", write=write)
    with pytest.raises(LudusError, match=r"holds no run \(no ludus.db in it\)"):
        Record.open(tmp_path, write=write)
    (tmp_path / "ludus.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(LudusError, match="holds no readable run"):
        Record.open(tmp_path, write=write)
    (tmp_path / "ludus.db").unlink()
    with sqlite3.connect(tmp_path / "ludus.db") as database:
        database.execute("CREATE TABLE letters (text TEXT)")
    with pytest.raises(LudusError, match="holds no readable run"):
        Record.open(tmp_path, write=write)


def test_a_run_of_another_version_is_refused(record):
    change(record, "UPDATE runs SET schema = 99")
    for write in (True, False):
        with pytest.raises(LudusError, match="record version 99, this ludus reads version 2; open it with"):
            Record.open(record.directory, write=write)


@pytest.mark.parametrize("damage", ["pages", "config"])
def test_a_damaged_database_is_named(in_a_file, damage):
    record = in_a_file
    for i in range(50):
        record.post(message(f"m{i}", "x" * 200))
    record.close()
    path = record.directory / "ludus.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if damage == "config":
            database.execute("UPDATE runs SET config = '{half'")
    if damage == "pages":
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(LudusError, match=r"ludus.db is damaged: .*; restore the run from a copy"):
        Record.open(record.directory, write=False).messages()


def test_creation_that_was_cut_short_can_be_repeated(record):
    change(record, "DELETE FROM runs")
    with pytest.raises(LudusError, match="stopped before it began; start it again"):
        Record.open(record.directory)
    Record.create(record.directory, preset("tiny")).close()


@pytest.mark.parametrize("bytes_", ["none", "a header"])
def test_a_database_without_tables_is_one_whose_creation_was_cut_short(tmp_path, bytes_):
    """`kill -9` between the file and its tables left a directory that could neither be resumed nor begun again."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/ludus.db").touch()
    if bytes_ == "a header":
        with sqlite3.connect(tmp_path / "run/ludus.db") as database:
            database.execute("PRAGMA journal_mode = WAL")
    for write in (True, False):
        with pytest.raises(LudusError, match="stopped before it began; start it again"):
            Record.open(tmp_path / "run", write=write)
    Record.create(tmp_path / "run", preset("tiny")).close()
    Record.open(tmp_path / "run").close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LudusError, match="cannot make the run directory"):
        Record.create(tmp_path / "file" / "run", preset("tiny"))
