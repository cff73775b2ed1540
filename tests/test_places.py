"""Where runs lie: names that mean something elsewhere, directories that are moved, jobs that start at the same time."""

import json
import os
import shutil
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command import ludus
from record_parts import Stop, message, stop, use_all

from ludus.cli.common import check_writable
from ludus.config import preset
from ludus.experiment import compose, offline, opening
from ludus.experiment.library import library_step
from ludus.record import Record, database, files, runs_in
from ludus.record.location import Location
from ludus.skills.files import FiledSkill, as_toml
from ludus.types import LudusError

NAMES = ["why?", "50%25off", "50%off", "sweep?lr=1", "x#y", "a:b", "?mode=memory", "file:x", "with space", "[b]", "ü"]
REACH = FiledSkill("reach red", "reach(red)", "near(red)", 60, author="base")


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_may_be_called_like_a_part_of_a_url(tmp_path, name, monkeypatch):
    home = tmp_path / name
    with Record.create(home / "own", preset("tiny")) as own:
        content = use_all(own)
    assert (home / "own" / "ludus.db").is_file()
    with Record.create(home / "shared", preset("tiny"), url=home / "all.db", run_id="a"):
        pass
    assert sorted(p.name for p in home.iterdir() if not p.name.endswith(("-wal", "-shm"))) == [
        "all.db",
        "own",
        "shared",
    ]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    Record.open(home / "shared").close()
    assert [r.run_id for r in runs_in(home / "all.db")] == ["a"]
    monkeypatch.setattr(os, "access", lambda *_: False)  # a directory without the right to write
    with Record.open(home / "own", write=False) as own:
        assert own.content() == content


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:////tmp/why?/all.db", "give the path of the file"),
        ("sqlite://", "is in memory"),
        ("postgresql://me:secret@host:port/runs", "is no URL; give"),
        ("postgresql+nothing://me:secret@host/runs", "cannot be used"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(tmp_path, url, why):
    with pytest.raises(LudusError, match=why) as found:
        Record.create(tmp_path / "a", preset("tiny"), url=url)
    assert "secret" not in str(found.value) and not (tmp_path / "a").exists()


def test_a_name_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(LudusError, match=r"can be no file .*utf-8"):
        Record.create(tmp_path / "b\udcff", preset("tiny"))
    with Record.create(tmp_path / "a", preset("tiny"), command="ludus run b\udcff") as record:
        record.post(message("m", text="\ud800"))
        assert record.command == "ludus run b?" and record.messages()[0].text == "?"


def test_no_path_ends_in_a_traceback(tmp_path):
    for name in ("x" * 300, f"{'y' * 300}/z"):
        assert "(File name too long); name another" in ludus("status", tmp_path / name, code=2)
        assert "File name too long" in ludus("collect", tmp_path / name, "--preset", "tiny", code=2)


def test_what_is_to_be_typed_can_be():
    assert files.typed(Path("runs/first")) == "runs/first" and files.typed("lr=0.1") == "./lr=0.1"
    for name in ("two\nlines", "a\ttab", "\x1b[31m'red\\", "\u202eback", "lr=\x01"):
        typed = files.typed(name)
        assert typed.isprintable() and typed.startswith("$'")
        assert subprocess.run(["bash", "-c", f"printf %s {typed}"], stdout=subprocess.PIPE).stdout.decode() in (
            name,
            f"./{name}",
        )
    assert files.typed("-x") == "./-x" and files.typed("my runs/[a]?") == "'my runs/[a]?'"


@pytest.mark.parametrize("file", ["ludus.db", "run.json", "lock", "shards/a", "checkpoints/a", "../all.db"])
def test_no_file_of_a_run_is_written_over(tmp_path, file):
    run = tmp_path / "run"
    with Record.create(run, preset("tiny")) as record:
        content = use_all(record)
    Record.create(tmp_path / "other", preset("tiny"), url=tmp_path / "all.db").close()
    for folder in ("shards", "checkpoints"):
        (run / folder / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(run / file)
    before = (run / file).read_bytes()
    for path in (run / file, tmp_path / "link"):
        for words in (("eval", run, "--json"), ("do", "lift red", "--film"), ("export", "--run", run, "--policy")):
            ludus(*words, path, code=2)
        with pytest.raises(
            LudusError, match="belongs to a run, which could not be read any more; choose another place"
        ):
            check_writable(path)
    assert (run / file).read_bytes() == before
    with Record.open(run, write=False) as record:
        assert record.content() == content
    check_writable(run / "eval.json")  # a file of one's own may lie beside them
    assert not (run / "eval.json").exists()


# --- moved directories -------------------------------------------------------------------------------------------


def test_a_run_moves_with_its_shared_database(tmp_path):
    with Record.create(tmp_path / "old" / "a", preset("tiny"), url=tmp_path / "old" / "all.db", run_id="a") as record:
        content = use_all(record)
    (tmp_path / "old").rename(tmp_path / "new")
    with Record.open(tmp_path / "new" / "a") as record:
        assert record.content() == content
    assert [r.directory for r in runs_in(tmp_path / "new" / "all.db")] == [str(tmp_path / "new" / "a")]
    assert not (tmp_path / "old").exists()
    kept = json.loads((tmp_path / "new" / "a" / "run.json").read_text())
    (tmp_path / "new" / "a" / "run.json").write_text(json.dumps(kept | {"database": "sqlite:////gone/all.db"}))
    place = Location.of(tmp_path / "new" / "a")  # as earlier versions wrote it
    assert place is not None and place.missing and place.url.database == "/gone/all.db"


def test_a_training_moves_with_its_data(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for name in ("data", "first"):
        Record.create(old / name, preset("tiny")).close()
    spec = offline.OfflineSpec((str(old / "data"),), init=str(old / "first"))
    Record.create(old / "learned", preset("tiny"), steps=spec.step(old / "learned")).close()
    shutil.copytree(old, new)  # a copy of all is the same training as its original
    moved = offline.OfflineSpec((str(new / "data"),), init=str(new / "first"))
    with Record.open(new / "learned", write=False) as record:
        offline.check_same(record, moved)
        assert offline.OfflineSpec.of(record) == spec
        shutil.rmtree(old)
        offline.check_same(record, moved)
        assert offline.OfflineSpec.of(record) == moved
        with pytest.raises(LudusError, match="holds another training"):
            offline.check_same(record, offline.OfflineSpec((str(new / "first"),), init=str(new / "first")))


def test_a_replay_moves_with_its_recording_and_needs_none_at_its_end(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    Record.create(old / "recorded", preset("tiny")).close()
    steps = compose.replay_step(old / "recorded", True, old / "again")
    Record.create(old / "again", preset("tiny"), steps=steps).close()
    old.rename(new)
    with Record.open(new / "again") as record:
        compose._ledger(record, record.config)
        shutil.rmtree(new / "recorded")
        with pytest.raises(LudusError, match=r"replays the answers of .*recorded, which holds no run any more; put"):
            compose._ledger(record, record.config)
        with record.commit("measure/after"):
            pass
        compose._ledger(record, record.config)


def test_a_run_is_never_taken_for_another_one(tmp_path):
    for name in ("a", "b"):
        with Record.create(tmp_path / name, preset("tiny"), run_id=name) as record:
            content = use_all(record)
    shutil.copy(tmp_path / "a" / "run.json", tmp_path / "b" / "run.json")
    before = (tmp_path / "b" / "ludus.db").read_bytes()
    for refused in (
        lambda: Record.open(tmp_path / "b"),
        lambda: Record.create(tmp_path / "b", preset("tiny")),
        lambda: opening.opened(tmp_path / "b", preset("tiny")),
    ):
        with pytest.raises(
            LudusError, match=r"run\.json names the run 'a', the database beside it holds b; put the file there"
        ):
            refused()
    assert (tmp_path / "b" / "ludus.db").read_bytes() == before
    (tmp_path / "b" / "run.json").write_text('{"run_id": "b"}')
    with Record.open(tmp_path / "b") as record:
        assert record.content() == content


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[1]", '{"database": 5}', '{"database": "/gone", "from_run": 5}', "\0"]
)
def test_a_damaged_run_json_is_named(tmp_path, text):
    Record.create(tmp_path / "a", preset("tiny")).close()
    (tmp_path / "a" / "run.json").write_text(text)
    with pytest.raises(LudusError, match=r"run\.json cannot be read .*restore it from a copy"):
        Record.open(tmp_path / "a")


def test_a_database_that_lacks_a_table_is_said(tmp_path):
    Record.create(tmp_path / "a", preset("tiny")).close()
    with sqlite3.connect(tmp_path / "a" / "ludus.db") as rows:  # as what is restored in parts
        rows.execute("DROP TABLE messages")
    for command in ("status", "resume"):
        assert "holds no readable run (no such table: messages)" in ludus(command, tmp_path / "a", code=2)


def test_a_database_that_somebody_else_holds_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 0.1)
    with Record.create(tmp_path / "a", preset("tiny")) as record, sqlite3.connect(tmp_path / "a" / "ludus.db") as other:
        other.execute("BEGIN IMMEDIATE")  # a browser of databases, or a backup
        with pytest.raises(LudusError, match=r"stayed locked for 0.1 s; stop whoever holds it"), record.commit("step"):
            pass
        other.rollback()
        with record.commit("step"):
            pass
        assert record.done("step")


# --- beginning ---------------------------------------------------------------------------------------------------


def test_jobs_that_start_at_the_same_time_get_directories_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: opening.fresh_directory(tmp_path / "runs", "now"), range(8)))
    assert sorted(p.name for p in made) == ["now", *(f"now-{n}" for n in range(2, 9))]
    with pytest.raises(LudusError, match="no such"), opening.created(made[0], preset("tiny"), fresh=True):
        raise LudusError("no such skill")
    assert not made[0].exists()
    with (
        pytest.raises(LudusError, match="neither SQLite"),
        opening.created(made[1], preset("tiny"), url="mysql://host/runs", fresh=True),
    ):
        pass
    assert not made[1].exists()
    (tmp_path / "file").touch()
    with pytest.raises(LudusError, match="--dir"):
        opening.fresh_directory(tmp_path / "file", "now")


def test_a_run_never_exists_without_what_it_begins_with(tmp_path, monkeypatch):
    steps = library_step([REACH]) | {"replay": {"run": "r", "strict": True}}
    monkeypatch.setattr(Location, "write", lambda *_: stop(None))  # the last thing before the commit
    with pytest.raises(Stop):
        Record.create(tmp_path / "a", preset("tiny"), url=tmp_path / "all.db", run_id="a", steps=steps)
    assert runs_in(tmp_path / "all.db") == []
    monkeypatch.undo()
    with Record.create(tmp_path / "a", preset("tiny"), steps=steps) as record:
        assert [s.name for s in record.steps()] == ["library", "replay"] and record.empty
        assert record.result("library")["skills"][0]["caption"] == "reach red"


def test_a_run_that_was_stopped_while_it_was_made_is_made_again(tmp_path):
    Record.create(tmp_path / "a", preset("tiny")).close()
    with sqlite3.connect(tmp_path / "a" / "ludus.db") as database:
        database.execute("DELETE FROM runs")
    with pytest.raises(LudusError, match="start it again with the command that made it"):
        Record.open(tmp_path / "a")
    with opening.opened(tmp_path / "a", preset("tiny"), steps=library_step([REACH])) as record:
        assert record.done("library")


@pytest.mark.parametrize("command", ["run", "collect", "train"])
def test_a_command_that_is_killed_at_once_leaves_a_run_of_its_kind(tmp_path, monkeypatch, command):
    file, run, data = tmp_path / "skills.toml", tmp_path / "run", tmp_path / "data"
    file.write_text(as_toml([REACH]))
    Record.create(data, preset("tiny")).close()
    for module, name in (
        ("cli.run", "carry_out"),
        ("experiment.collection", "collect"),
        ("experiment.offline", "train"),
    ):
        monkeypatch.setattr(f"ludus.{module}.{name}", lambda *_, **__: stop(None))
    words = {"run": ("run", "--dir", run), "collect": ("collect", run), "train": ("train", run, "--data", data)}
    with pytest.raises(Stop):
        ludus(*words[command], "--preset", "tiny", "--library", file)
    with Record.open(run, write=False) as record:
        assert [s.name for s in record.steps() if s.name != "course"] == ["library"]
        assert offline.is_training(record) == (command == "train")
    if command == "collect":
        assert "holds collected episodes only; give the same `ludus collect` again" in ludus("resume", run, code=2)


def test_the_default_directory_is_not_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ludus.cli.run.carry_out", lambda *_, **__: stop(None))
    monkeypatch.setattr("ludus.cli.run.Run._name", lambda self: "same-second")
    for _ in range(2):
        with pytest.raises(Stop):
            ludus("run", "--preset", "tiny")
    assert sorted(p.name for p in Path("runs").iterdir()) == ["same-second", "same-second-2"]
