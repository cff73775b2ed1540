"""Many runs in one database: each its own, each resumable, all listed."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import time
from pathlib import Path

import pytest
from record_parts import message, outcome, use_all

from ludus.config import override, preset
from ludus.record import Progress, Record, files, holds_run, runs_in, tables
from ludus.seeding import rng
from ludus.types import LudusError


def carry_out(directory, url, seed, tell=lambda step: None):
    """A run of 20 steps into a shared database, from wherever it stands."""
    begun = directory.with_suffix(".begun")
    with Record.open(directory) if begun.exists() else Record.create(directory, preset("tiny"), url=url) as record:
        begun.touch()
        for i in range(20):
            step = f"step/{i}"
            if not record.done(step):
                with record.commit(step) as opened:
                    record.post(message(f"{step}/said", f"{seed}: {rng(seed, i).random()}"))
                    record.add_outcomes([outcome(f"e{i}", k, bool(rng(seed, i, k).random() < 0.5)) for k in range(3)])
                    record.add_metrics([("loss", i, rng(seed, i).random())])
                    opened.result = {"seed": seed, "known": len(record.outcomes())}
            tell(i)


def test_two_runs_in_one_database_are_each_resumable(tmp_path, database):
    """Two processes write, one is killed and resumed: each run is what it would have been in a database of its own."""
    for seed in (1, 2):
        carry_out(tmp_path / "alone" / str(seed), None, seed)
    hear, say = os.pipe()

    def report(i: int) -> None:
        if i == 7:
            os.write(say, b".")
            time.sleep(0.05)

    children = []
    for seed in (1, 2):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                carry_out(tmp_path / "both" / str(seed), database, seed, report if seed == 1 else lambda i: None)
            finally:
                os._exit(0)
    os.read(hear, 1)
    os.kill(children[0], signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    killed, whole = (Record.open(tmp_path / "both" / str(seed), write=False) for seed in (1, 2))
    assert 7 <= len(killed.steps()) < 20 and len(whole.steps()) == 20
    assert [r.last_step for r in runs_in(database)].count("step/19") == 1
    carry_out(tmp_path / "both" / "1", database, 1)
    for seed, record in ((1, killed), (2, whole)):
        with Record.open(tmp_path / "alone" / str(seed), write=False) as alone:
            assert record.content() == alone.content()
            assert record.success_counts("step/1") == alone.success_counts("step/1")
        assert record.posted(after=record.posted()[9].number)[0].message.key == "step/10/said"
        record.close()


def test_rows_of_another_run_are_never_seen(tmp_path, database):
    with Record.create(tmp_path / "a", preset("tiny"), url=database) as first:
        expected = use_all(first)
        with Record.create(tmp_path / "b", preset("cpu"), url=database) as second:
            assert second.empty and second.config == preset("cpu")
            assert [k for k, rows in second.content().items() if rows] == ["runs"]
            assert second.heartbeat() is None and second.stages() == [] and second.last_step() is None
            assert use_all(second)["outcomes"] == expected["outcomes"]  # the same keys
            second.add_outcomes([outcome("e2")])
        assert first.content() == expected
    assert sum(len(rows) for rows in expected.values()) >= 17


def test_a_run_that_made_nothing_gives_way_alone(tmp_path, database):
    with Record.create(tmp_path / "a", preset("tiny"), url=database) as first:
        first.post(message("m"))
    Record.create(tmp_path / "b", preset("tiny"), url=database).close()
    with Record.create(tmp_path / "b", preset("cpu")) as again:  # this time into a database of its own
        assert again.config == preset("cpu")
    assert [r.run_id for r in runs_in(database)] == [first.run_id]
    with Record.open(tmp_path / "a", write=False) as record:
        assert record.messages() == [message("m")]


def test_a_run_id_is_unique_in_its_database(tmp_path, database):
    with Record.create(tmp_path / "a", preset("tiny"), url=database, run_id="first") as record:
        assert record.run_id == "first"
    with pytest.raises(LudusError, match="already holds a run 'first'; give another run_id"):
        Record.create(tmp_path / "b", preset("tiny"), url=database, run_id="first")
    assert not (tmp_path / "b").exists()
    with pytest.raises(LudusError, match=r"run_id 'a/b' must be 1 to 100 of the characters"):
        Record.create(tmp_path / "b", preset("tiny"), run_id="a/b")
    for name in ("b c", "é"):
        with Record.create(tmp_path / name, preset("tiny"), url=database) as record:
            assert record.run_id[:-8] in ("b-c-", "--")
    assert len({r.run_id for r in runs_in(database)}) == 3


def test_a_directory_that_lost_its_place_is_found_again(tmp_path, database):
    with Record.create(tmp_path / "a", preset("tiny"), url=database, run_id="first"):
        pass
    Record.create(tmp_path / "b", preset("tiny"), url=database, run_id="second").close()
    (tmp_path / "a" / "run.json").unlink()
    assert not holds_run(tmp_path / "a") and holds_run(tmp_path / "b")
    with pytest.raises(LudusError, match="holds no run"):
        Record.open(tmp_path / "a")
    with pytest.raises(LudusError, match="holds 2 runs; say which: run_id=first or second"):
        Record.open(tmp_path / "a", url=database)
    Record.open(tmp_path / "a", url=database, run_id="first").close()
    (tmp_path / "a" / "run.json").write_text("{half")
    with pytest.raises(LudusError, match=r"run.json cannot be read .*; restore it"):
        Record.open(tmp_path / "a")
    assert holds_run(tmp_path / "a") and not holds_run(tmp_path / "nowhere")  # and never an error
    assert [r.state for r in runs_in(database)] == ["stopped", "stopped"]


def test_a_directory_may_move_with_its_own_database(tmp_path):
    with Record.create(tmp_path / "a", preset("tiny")) as record:
        content = use_all(record)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    with Record.open(tmp_path / "b") as record:
        assert record.content() == content
        assert [(Path(r.directory).name, r.state) for r in runs_in(tmp_path / "b")] == [("b", "running")]
        assert record.rows(tables.runs)[0]["directory"] == str(tmp_path / "b")
    assert runs_in(tmp_path / "b" / "ludus.db")[0].state == "stopped"


def test_a_copy_writes_no_rows_of_its_original(tmp_path, database):
    """Where the rows are in a database elsewhere: a copy is refused while the original exists, a moved directory is not."""
    with Record.create(tmp_path / "a", preset("tiny"), url=database, run_id="a") as record:
        content = use_all(record)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(
        LudusError, match=r"b is a copy of .*a, and both would write the rows of run 'a' in .*; open .*a"
    ):
        Record.open(tmp_path / "b")
    Record.open(tmp_path / "b", write=False).close()
    Record.open(tmp_path / "a").close()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    Record.open(tmp_path / "link").close()
    assert [r.directory for r in runs_in(database)] == [str(tmp_path / "a")]
    shutil.rmtree(tmp_path / "a")
    Record.create(tmp_path / "a", preset("tiny")).close()  # another run, in the place of the old one
    with Record.open(tmp_path / "b") as moved:
        assert moved.content() == content
    assert [r.directory for r in runs_in(database)] == [str(tmp_path / "b")]


def test_a_discarded_run_leaves_nothing(tmp_path):
    url = tmp_path / "all.db"
    with Record.create(tmp_path / "a", preset("tiny"), url=url, run_id="a") as kept:
        content = use_all(kept)
        with pytest.raises(LudusError, match="a holds results; delete it by hand"):
            kept.discard()
        with Record.create(tmp_path / "b", preset("tiny"), url=url, run_id="b") as refused:
            refused.post(message("m"))
            with refused.commit("begin"), Progress(refused).stage("looking", 1):
                pass
            with Record.open(tmp_path / "b", write=False) as reader, pytest.raises(LudusError, match="to look at"):
                reader.discard()
            refused.discard()
        assert kept.content() == content and not (tmp_path / "b").exists()
    with sqlite3.connect(url) as rows:
        for table in tables.metadata.sorted_tables:
            assert {run_id for (run_id,) in rows.execute(f"SELECT run_id FROM {table.name}")} <= {"a"}
    assert [r.run_id for r in runs_in(url)] == ["a"]


def test_a_discarded_run_leaves_the_others_of_its_own_database(tmp_path):
    first = Record.create(tmp_path / "a", preset("tiny"))
    Record.create(tmp_path / "b", preset("tiny"), url=tmp_path / "a" / "ludus.db", run_id="b").close()
    first.discard()
    assert [r.run_id for r in runs_in(tmp_path / "a" / "ludus.db")] == ["b"]
    Record.create(tmp_path / "c", preset("tiny")).discard()
    assert not (tmp_path / "c").exists()


def test_a_shared_database_that_is_gone_is_named(tmp_path):
    Record.create(tmp_path / "a", preset("tiny"), url=tmp_path / "all.db").close()
    (tmp_path / "all.db").unlink()
    for write in (True, False):
        with pytest.raises(LudusError, match=r"all.db of the run in .*a is missing; restore it"):
            Record.open(tmp_path / "a", write=write)
    assert not (tmp_path / "all.db").exists()
    Record.create(tmp_path / "a", preset("tiny")).close()


def test_a_password_stays_out_of_the_directory(tmp_path):
    from ludus.record.location import Location

    place = Location.new(tmp_path, "postgresql+psycopg://me:secret@host/runs", "first")
    place.write(tmp_path)
    assert "secret" not in (tmp_path / "run.json").read_text()
    assert json.loads((tmp_path / "run.json").read_text())["database"] == "postgresql+psycopg://me@host/runs"
    with pytest.raises(LudusError, match="is neither SQLite nor PostgreSQL"):
        Record.create(tmp_path / "a", preset("tiny"), url="mysql://host/runs")


def test_a_server_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("psycopg")
    url = "postgresql+psycopg://ludus:secret@127.0.0.1:9/none?connect_timeout=2"
    with pytest.raises(
        LudusError, match=r"cannot use the database postgresql\+psycopg://ludus:\*\*\*@127.0.0.1:9.*ludus resume"
    ) as found:
        Record.create(tmp_path / "a", preset("tiny"), url=url)
    assert "secret" not in str(found.value) and not (tmp_path / "a").exists()
    with pytest.raises(LudusError, match=r"cannot use the database postgresql\+psycopg://ludus:\*\*\*@") as found:
        runs_in(url)
    assert "secret" not in str(found.value)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "all.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    for where in (tmp_path / "all.db", f"sqlite:///{tmp_path / 'all.db'}"):
        with pytest.raises(LudusError, match=r"cannot use the database .*/all.db: .*; name another one"):
            runs_in(where)
    with pytest.raises(LudusError, match=r"folder of the database .*/gone/all.db is missing; make .*/gone, or name"):
        Record.create(tmp_path / "a", preset("tiny"), url=f"sqlite:///{tmp_path / 'gone' / 'all.db'}")
    assert not (tmp_path / "a").exists()
    assert not files.is_full(RuntimeError("no server"), tmp_path / "gone")


def test_the_runs_of_a_database_are_listed(tmp_path, database):
    config = override(preset("tiny"), ["seed=7"])
    if database.startswith("postgresql"):
        assert runs_in(database) == []  # no tables yet
    with Record.create(tmp_path / "a", config, url=database, run_id="a", command="ludus run") as first:
        Record.create(tmp_path / "b", preset("tiny"), url=database, run_id="b").close()
        with first.commit("begin"):
            pass
        one, two = runs_in(database)
        assert (one.run_id, one.seed, one.command, one.last_step) == ("a", 7, "ludus run", "begin")
        assert one.settings["world.n_blocks"] == 2 and "world.name" not in one.settings and one.settings["seed"] == 7
        assert one.heartbeat is not None and one.heartbeat.pid == os.getpid()
        assert (one.state, two.state, two.last_step, two.heartbeat) == ("running", "stopped", None, None)
        assert one.created <= two.created and Path(one.directory) == tmp_path / "a"
        assert runs_in(tmp_path / "b") == [one, two]
    with pytest.raises(LudusError, match="holds no runs; name a database"):
        runs_in(tmp_path / "nowhere.db")


def test_a_state_says_how_a_run_stands(tmp_path, database, monkeypatch):
    with Record.create(tmp_path / "a", preset("tiny"), url=database) as record:
        with record.commit("pretrain/train/000"):
            record.post(message("m", kind="diverged"))
        reader = Record.open(tmp_path / "a", write=False)
        assert reader.state() == record.state() == "running"  # resumed after it diverged
    assert reader.state() == "failed"
    with Record.open(tmp_path / "a") as record:
        record.post(message("again"))
    assert reader.state() == "stopped"
    # a process on another machine: of a file only its heartbeat tells, a server knows who has the run
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert reader.state() == ("running" if database.startswith("sqlite") else "stopped")
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 1000)
    assert reader.state() == "stopped"
    monkeypatch.undo()
    with Record.open(tmp_path / "a") as record:
        with record.commit("end"):
            pass
        assert reader.state() == "done"


def test_a_run_that_ends_while_its_state_is_asked_for_was_not_stopped(tmp_path, database, monkeypatch):
    with Record.create(tmp_path / "a", preset("tiny"), url=database) as record:
        reader = Record.open(tmp_path / "a", write=False)

        def ends():
            with record.commit("end"):
                pass
            return False

        monkeypatch.setattr(reader, "_is_running", ends)
        assert reader.state() == "done"


def test_tables_of_another_version_take_no_new_run(tmp_path):
    path = tmp_path / "shared.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE run (schema INTEGER)")
        database.execute("INSERT INTO run VALUES (1)")
    with pytest.raises(LudusError, match="is one of record version 1; give another one"):
        Record.create(tmp_path / "a", preset("tiny"), url=path)
    with pytest.raises(LudusError, match="has record version 1, this ludus reads version 2"):
        runs_in(path)
    assert not (tmp_path / "a").exists()


def test_what_is_alive_is_no_content(tmp_path):
    with Record.create(tmp_path / "a", preset("tiny")) as record:
        before = record.content()
        with Progress(record).stage("collecting", 2) as advance:
            advance(1)
        assert record.content() == before and record.empty and record.stages() and record.heartbeat()
        assert {t.name for t in tables.LIVE}.isdisjoint(before)
