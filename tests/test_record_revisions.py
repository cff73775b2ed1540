"""A database of the revision before is read as it is, and carried forward when a run in it is written."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgresql import schema
from record_parts import message, outcome, use_all

from ludus.config import preset
from ludus.record import Record, revisions, runs_in, tables
from ludus.record import database as databases
from ludus.types import LudusError


@pytest.fixture
def old(database, tmp_path):
    """The URL of a database as ludus made it before there were revisions, with a run 'a'."""
    kind = database.partition(":")[0].partition("+")[0]
    script = (Path(__file__).parent / "data" / f"record-2-{kind}.sql").read_text()
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        if kind == "sqlite":
            connection.connection.executescript(script)
        else:
            connection.connection.execute(script)
        home = str(tmp_path / "a")
        connection.execute(sa.text("UPDATE runs SET directory = :home"), {"home": home})
    engine.dispose()
    (tmp_path / "a").mkdir()
    return database


def revision(url):
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found, behind = revisions._revision(connection), revisions.is_behind(connection)
        indexes = {index["name"] for index in sa.inspect(connection).get_indexes("steps")} - {"steps_key"}
        context = MigrationContext.configure(connection)
        diff = compare_metadata(context, tables.metadata)
    engine.dispose()
    return found, behind, indexes, [d for d in diff if "alembic_version" not in str(d)]


def test_a_new_database_is_of_the_newest_revision(tmp_path, database):
    Record.create(tmp_path / "run", preset("tiny"), url=database).close()
    assert revision(database) == (revisions.HEAD, False, {"steps_number"}, [])
    script = ScriptDirectory(str(revisions.MIGRATIONS))
    assert script.get_current_head() == revisions.HEAD and script.get_bases() == [revisions.FIRST]


def test_an_old_database_is_looked_at_as_it_is_and_carried_forward_by_who_writes(tmp_path, old):
    with Record.create(tmp_path / "new", preset("tiny"), command="ludus run") as record:
        expected = use_all(record)
    with Record.open(tmp_path / "a", url=old, run_id="a", write=False) as reader:
        found = reader.content()
        for content in (found, expected):
            del content["runs"][0]["config"]  # the old one lacks settings that came later
        assert found == expected and [run.run_id for run in runs_in(old)] == ["a"]
        assert reader.config.world == preset("tiny").world
        reader.post(message("said"))
        assert revision(old)[:3] == (None, True, set())
        with Record.open(tmp_path / "a", url=old, run_id="a") as record, record.commit("b"):
            record.add_outcomes([outcome("e2")])
        assert reader.last_step() == "b" and len(reader.outcomes()) == 3
    assert revision(old) == (revisions.HEAD, False, {"steps_number"}, [])


def test_a_new_run_carries_an_old_database_forward(tmp_path, old):
    Record.create(tmp_path / "b", preset("tiny"), url=old, run_id="b").close()
    assert revision(old) == (revisions.HEAD, False, {"steps_number"}, [])
    assert [run.run_id for run in runs_in(old)] == ["a", "b"]


def test_many_carry_a_database_forward_once(tmp_path, old):
    ready, failed = threading.Barrier(6), []

    def begin(k):
        try:
            ready.wait()
            with Record.create(tmp_path / str(k), preset("tiny"), url=old, run_id=str(k)) as record, record.commit("a"):
                record.add_metrics([("loss", 1, 0.5)])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and revision(old)[0] == revisions.HEAD
    assert sorted(run.run_id for run in runs_in(old)) == ["0", "1", "2", "3", "4", "5", "a"]


def test_who_changes_the_journal_while_another_writes_waits(tmp_path):
    path = tmp_path / "shared.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        ends = threading.Timer(0.3, other.execute, ["COMMIT"])
        ends.start()
        with databases.connect(databases.address(path)).connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        ends.join()


def test_a_migration_that_is_cut_short_has_done_nothing(tmp_path, old, monkeypatch):
    from alembic import op

    def cut(name, table, columns):
        if table == "steps":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", cut)
        with pytest.raises(KeyboardInterrupt):
            Record.open(tmp_path / "a", url=old, run_id="a")
    assert revision(old)[:3] == (None, True, set())
    Record.open(tmp_path / "a", url=old, run_id="a").close()
    assert revision(old)[0] == revisions.HEAD


def test_a_newer_revision_is_left_alone(tmp_path, old):
    engine = sa.create_engine(old)
    with engine.begin() as connection:
        revisions.stamp(connection, "0009")
    engine.dispose()
    Record.open(tmp_path / "a", url=old, run_id="a").close()
    assert revision(old)[:3] == ("0009", False, set())


def test_who_may_not_change_the_tables_is_told_who_may(tmp_path, postgresql):
    script = (Path(__file__).parent / "data" / "record-2-postgresql.sql").read_text()
    (tmp_path / "a").mkdir()
    with schema(postgresql) as url:
        engine, guest = databases.connect(sa.make_url(url)), f"guest_{url.rpartition('_')[2][:12]}"
        name = url.rpartition("%3D")[2]
        with engine.begin() as connection:
            connection.connection.execute(script)
            connection.exec_driver_sql(f"CREATE ROLE {guest} LOGIN")
            connection.exec_driver_sql(f"GRANT USAGE, CREATE ON SCHEMA {name} TO {guest}")
            connection.exec_driver_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA {name} TO {guest}")
        theirs = url.replace("//ludus@", f"//{guest}@")
        with pytest.raises(
            LudusError, match=r"carried forward to revision .* must be owner of table metrics; let their owner"
        ):
            Record.open(tmp_path / "a", url=theirs, run_id="a")
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {guest}")
            connection.exec_driver_sql(f"DROP ROLE {guest}")
        engine.dispose()
