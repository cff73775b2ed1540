"""A run of record version 1 is refused with the command that upgrades it, and upgraded whole or not at all."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from ludus.config import override, preset
from ludus.record import Record, convert, moving, runs_in, tables
from ludus.types import LudusError, Outcome, SuccessCount

SETTINGS = (
    "agent.width=24", "sampling.commanded_ratio=0.5", "sampling.hindsight_ratio=0.4", "sampling.bc_labels=hindsight",
    "sampling.balance_hindsight=0.5", "training.microbatches=2", "experimenter.prefetch=2", "experimenter.max_concurrency=3",
)  # fmt: skip


@pytest.fixture
def old(tmp_path):
    """A run directory as ludus left it at version 1."""
    directory = tmp_path / "old"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "pretrain-train-000.pt").write_bytes(b"weights")
    with sqlite3.connect(directory / "ludus.db") as database:
        database.executescript((Path(__file__).parent / "data" / "record-1.sql").read_text())
    database.close()
    return directory


def dump(path):
    with sqlite3.connect(path) as database:
        return list(database.iterdump())


def test_an_old_run_is_refused_with_the_command_that_helps(old):
    for write in (True, False):
        with pytest.raises(LudusError, match=f"version 1, this ludus reads version 2; .* `ludus convert {old}`"):
            Record.open(old, write=write)
    with pytest.raises(LudusError, match="already holds a run"):
        Record.create(old, preset("tiny"))


def test_a_converted_run_holds_everything_under_the_new_names(old):
    before = dump(old / "ludus.db")
    assert convert.convert(old) and not convert.convert(old)
    assert dump(old / "ludus.db.v1") == before and not list(old.glob("*-wal")) + list(old.glob("*.tmp"))
    with Record.open(old) as record:
        # what it did before these settings existed it goes on doing; the preset was another one then
        former = "experiment.fill=false", "experiment.rehearsal=0", "world.n_envs=8"
        former += "training.evaluation_episodes=2", "experiment.final_episodes=4"
        assert (
            record.config == override(preset("tiny"), (*SETTINGS, *former))
            and record.command == "ludus run --preset tiny"
        )
        assert [s.name for s in record.steps()] == [
            "begin", "seed-data/000", "pretrain/train/000", "round/1/plan"
        ]  # fmt: skip
        assert record.result("pretrain/train/000") == {"stop": False, "sampler": {"batches": 10}, "updates": 10}
        assert record.outcomes() == [
            Outcome("e1", 0, "reach red", "h1", True, True, 0.5), Outcome("e1", 1, "reach red", "h1", False, True, 0.25)
        ]  # fmt: skip
        assert record.success_counts(actor="teacher") == [SuccessCount("reach red", "h1", 2, 1, 2)]
        assert record.evaluations()[0].count == SuccessCount("reach red", "h1", 4, 1, 3)
        assert [(s["caption"], s["author"], s["status"], s["round"], s["changed"]) for s in record.skills()] == [
            ("reach red", "base", "base", 0, 0), ("turn red", "extra", "accepted", 1, 1)
        ]  # fmt: skip
        assert record.rows(tables.episodes)[0]["seed"] == 2**62 and len(record.metrics()) == 3
        assert (
            record.plans() and record.verdicts() and record.messages() and record.calls()[0]["answer"] == {"task": "x"}
        )
        with record.commit("round/1/collect/000"):  # and goes on
            record.add_outcomes([Outcome("e2", 0, "reach red", "h1", True, True, 0.5)])
    assert [r.last_step for r in runs_in(old)] == ["round/1/collect/000"]


def test_a_converted_database_has_the_tables_of_a_new_one(old, tmp_path):
    convert.convert(old)
    Record.create(tmp_path / "new", preset("tiny")).close()

    def schema(directory):
        with sqlite3.connect(directory / "ludus.db") as database:
            return sorted(database.execute("SELECT type, name, sql FROM sqlite_master").fetchall(), key=str)

    assert schema(old) == schema(tmp_path / "new")


@pytest.mark.parametrize("where", ["_copy_run", "_add_statuses", "_rename_settings"])
def test_a_conversion_that_was_cut_short_can_be_repeated(old, where, monkeypatch):
    before = dump(old / "ludus.db")
    with monkeypatch.context() as patch:
        patch.setattr(convert, where, cut)
        with pytest.raises(KeyboardInterrupt):
            convert.convert(old)
    assert dump(old / "ludus.db") == dump(old / "ludus.db.v1") == before
    assert convert.convert(old)
    assert dump(old / "ludus.db.v1") == before
    (old / "run.json").unlink()  # cut short after the commit
    Record.open(old).close()


def test_checkpoints_are_upgraded_before_the_database(old):
    seen = []

    def upgrade(path: Path) -> None:
        with pytest.raises(LudusError, match="version 1"):
            Record.open(old, write=False)
        seen.append(path.name)

    convert.convert(old, upgrade)
    assert seen == ["pretrain-train-000.pt"]


def test_what_cannot_be_converted_is_explained(old, tmp_path):
    with pytest.raises(LudusError, match=r"holds no ludus.db to convert"):
        convert.convert(tmp_path)
    with (
        Record.create(tmp_path / "new", preset("tiny")) as record,
        pytest.raises(LudusError, match="is already running"),
    ):
        convert.convert(record.directory)
    assert not convert.convert(tmp_path / "new")
    shutil.copytree(old, tmp_path / "broken")
    (tmp_path / "broken" / "ludus.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(LudusError, match="cannot be converted"):
        convert.convert(tmp_path / "broken")


def test_rows_move_to_a_database_of_many_runs(old, tmp_path, database):
    """From the version before, too; a move that is cut short is repeated, and the run goes on there."""
    convert.convert(old)
    with Record.open(old) as record:
        expected, run_id = record.content(), record.run_id
        with pytest.raises(LudusError, match="is already running"):
            moving.move(old, database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving.Location, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            moving.move(old, database)
    assert (old / "ludus.db").exists() and [run.run_id for run in runs_in(old)] == [run_id]
    assert moving.move(old, database) and not moving.move(old, database)
    assert sorted(path.name for path in old.glob("ludus.db*")) == ["ludus.db.moved", "ludus.db.v1"]
    with Record.open(old) as record:
        assert record.content() == expected and record.run_id == run_id
        with record.commit("round/1/collect/000"):
            record.add_outcomes([Outcome("e2", 0, "reach red", "h1", True, True, 0.5)])
    assert [run.last_step for run in runs_in(database)] == ["round/1/collect/000"]
    with pytest.raises(LudusError, match="not in a file of its own; they stay there"):
        moving.move(old, tmp_path / "third.db")
    Record.create(tmp_path / "other", preset("tiny"), run_id=run_id).close()
    with pytest.raises(LudusError, match="already holds another run"):
        moving.move(tmp_path / "other", database)
    with Record.open(tmp_path / "other", write=False) as record:
        assert record.run_id == run_id


def cut(*_):
    raise KeyboardInterrupt
