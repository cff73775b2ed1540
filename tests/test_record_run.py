"""The record: one writer, steps that are whole or absent, and the same content however often the run was killed."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.schema import CreateTable

from ludus.config import preset
from ludus.record import Record, files, tables
from ludus.seeding import rng
from ludus.types import LudusError, Message, Outcome, Plan, Proposal, Retrieval, SuccessCount, Verdict


class Stop(BaseException):
    """Like Ctrl-C."""


def stop(_: object) -> None:
    raise Stop


@dataclass(frozen=True)
class Skill:
    hash: str = "h1"
    caption: str = "reach red"
    reward: str = "near(red)"
    success: str = "at(red)"
    steps: int = 80
    base: bool = True


def message(key: str, text: str = "hello") -> Message:
    return Message(key, "loop", "all", "note", text, ("images/a.png",), {"x": [1, 2.5], "y": None})


def outcome(episode: str, segment: int = 0, success: bool = True, caption: str = "reach red") -> Outcome:
    return Outcome(episode, segment, caption, f"hash of {caption}", success, True, 0.5)


PLAN = Plan(
    "p1",
    Proposal("a tower", "it is new", 0.25, "on(red, green)"),
    ("first", "then"),
    (Retrieval("first", "reach red"), Retrieval("then", None, "turn red over")),
)


@pytest.fixture
def record(tmp_path):
    with Record.create(tmp_path / "run", preset("tiny")) as record:
        yield record


# --- one run per directory, one writer per run -------------------------------------------------------------------


def test_a_run_remembers_what_it_is(tmp_path):
    config = preset("tiny")
    with Record.create(tmp_path / "run", config, command="ludus run --preset tiny"):
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


def test_the_lock_dies_with_its_process(tmp_path):
    program = """
import sys, time
from ludus.config import preset
from ludus.record import Record
record = Record.create(sys.argv[1], preset("tiny"))
print("ready", flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
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
    (tmp_path / "ludus.db").write_bytes(b"")
    with pytest.raises(LudusError, match="holds no readable run"):
        Record.open(tmp_path, write=write)


def test_a_run_of_another_version_is_refused(record):
    record.close()
    with sqlite3.connect(record.directory / "ludus.db") as database:
        database.execute("UPDATE run SET schema = 99")
    for write in (True, False):
        with pytest.raises(LudusError, match="record version 99, this ludus reads version 1; open it with"):
            Record.open(record.directory, write=write)


@pytest.mark.parametrize("damage", ["pages", "config"])
def test_a_damaged_database_is_named(record, damage):
    for i in range(50):
        record.post(message(f"m{i}", "x" * 200))
    record.close()
    path = record.directory / "ludus.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if damage == "config":
            database.execute("UPDATE run SET config = '{half'")
    if damage == "pages":
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(LudusError, match=r"ludus.db is damaged: .*; restore the run from a copy"):
        Record.open(record.directory, write=False).messages()


def test_creation_that_was_cut_short_can_be_repeated(record):
    record.close()
    with sqlite3.connect(record.directory / "ludus.db") as database:
        database.execute("DELETE FROM run")
    with pytest.raises(LudusError, match="stopped before it began; start it again"):
        Record.open(record.directory)
    Record.create(record.directory, preset("tiny")).close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LudusError, match="cannot make the run directory"):
        Record.create(tmp_path / "file" / "run", preset("tiny"))


# --- steps ---------------------------------------------------------------------------------------------------------


def test_a_step_appears_whole_at_its_commit(record):
    with Record.open(record.directory, write=False) as reader:
        with record.commit("round/1/collect") as step:
            record.add_outcomes([outcome("e1"), outcome("e1", 1)])
            record.add_skills([Skill()])
            step.result = {"episodes": np.int64(64), "rate": np.float32(0.5)}
            assert not reader.done("round/1/collect") and reader.outcomes() == record.outcomes() == []
        assert reader.done("round/1/collect") and reader.last_step() == "round/1/collect"
        assert reader.outcomes() == [outcome("e1"), outcome("e1", 1)]
        assert reader.result("round/1/collect") == {"episodes": 64, "rate": 0.5}
        assert [s.name for s in reader.steps()] == ["round/1/collect"] and reader.steps()[0].seconds >= 0


def test_a_step_that_fails_leaves_nothing(record):
    with pytest.raises(Stop), record.commit("a"):
        stop(record.add_outcomes([outcome("e1")]))
    assert not record.done("a") and record.outcomes() == [] and record.open_step is None
    with record.commit("a"):
        record.add_outcomes([outcome("e2")])
    assert [o.episode for o in record.outcomes()] == ["e2"]


def test_misused_steps_are_explained(record):
    with record.commit("a"), pytest.raises(LudusError, match="begins inside step 'a'"), record.commit("b"):
        pass
    with pytest.raises(LudusError, match="already done"), record.commit("a"):
        pass
    for name in ("", "A", "a//b", "/a", "a.b", "../a"):
        with pytest.raises(LudusError, match="is not like 'round/1/collect'"), record.commit(name):
            pass
    with pytest.raises(LudusError, match=r"step 'z' of .* is not done; last done: 'a'"):
        record.result("z")
    assert not record.done("b")


def test_each_thread_has_a_step_of_its_own(record):
    def plan():
        with record.commit("round/2/plan"):
            record.add_plan(2, PLAN)

    with record.commit("round/1/train"):
        record.add_outcomes([outcome("e1")])
        thread = threading.Thread(target=plan)
        thread.start()
        thread.join()
        assert record.done("round/2/plan") and record.plans() == [(2, PLAN)] and record.outcomes() == []
    assert [s.name for s in record.steps()] == ["round/2/plan", "round/1/train"]


def test_everything_reads_back_as_it_was_added(record):
    counts = [SuccessCount("reach red", "h1", 8, 3, 5), SuccessCount("grasp red", "h2", 8, 0, 1)]
    verdict = Verdict("reach red", "converged", 0.9, "flat")
    for step in (None, "a"):  # outside of a step everything is written at once; keys make it idempotent
        if step:
            with record.commit(step):
                add_all(record, counts, verdict)
        else:
            add_all(record, counts, verdict)
    assert record.messages() == [message("m1"), message("m2")]
    assert record.messages("note") == record.messages() and record.messages("plan") == []
    assert record.skills()[0] == {
        "hash": "h1", "caption": "reach red", "reward": "near(red)", "success": "at(red)", "steps": 80, "base": True,
        "round": 3,
    }  # fmt: skip
    assert len(record.skills()) == 1
    assert [(e.stage, e.update, e.count) for e in record.evaluations()] == [("before", 7, t) for t in counts]
    assert record.evaluations("after") == []
    assert record.plans(1) == record.plans() == [(1, PLAN)] and record.plans(2) == []
    assert record.verdicts() == record.verdicts(1) == [(1, 800, verdict)]
    names, updates, values = zip(*record.metrics(), strict=True)
    assert names == ("loss/critic", "loss/actor", "time/fit") and updates == (1, 1, 1)
    assert values[0] == 0.5 and math.isnan(values[1])
    assert [m[0] for m in record.metrics("loss/")] == ["loss/critic", "loss/actor"]


def add_all(record, counts, verdict):
    record.add_messages([message("m1"), message("m2")])
    record.add_skills([Skill()], round=3)
    record.add_evaluation("before", 7, counts)
    record.add_plan(1, PLAN)
    record.add_verdict(1, 800, verdict)
    record.add_metrics([("loss/critic", 1, np.float32(0.5)), ("loss/actor", 1, math.nan), ("time/fit", 1, 1.5)])
    record.add_metrics([])


def test_tallies_count_outcomes_by_step_and_skill(record):
    for n in (1, 10):
        with record.commit(f"round/{n}"):
            outcomes = [outcome(f"e{n}", 0), outcome(f"e{n}", 1, False), outcome(f"e{n}", 2, True, "lift red")]
            record.add_outcomes(outcomes)
    assert record.success_counts() == [
        SuccessCount("reach red", "hash of reach red", 4, 2, 4), SuccessCount("lift red", "hash of lift red", 2, 2, 2)
    ]  # fmt: skip
    assert [t.n for t in record.success_counts("round/10")] == [2, 1]
    assert record.success_counts("seed") == [] and record.success_counts(actor="teacher") == []  # no such episodes
    assert [o.episode for o in record.outcomes("round/10")] == ["e10"] * 3


# --- other databases ------------------------------------------------------------------------------------------------


def use_all(record):
    """Every kind of row, added and read."""
    add_all(record, [SuccessCount("reach red", "h1", 8, 3, 5)], Verdict("reach red", "converged", 0.9, "flat"))
    with record.commit("a"):
        record.post(message("live"))
        record.add_outcomes([outcome("e1"), outcome("e1", 1, False)])
        record.add_call({c.name: CALL.get(c.name, 0) for c in tables.calls.c if c.name != "number"})
    assert record.result("a") == {} and record.last_step() == "a" and len(record.posted(after=1)) == 2
    assert record.success_counts("a") == [SuccessCount("reach red", "hash of reach red", 2, 1, 2)]
    assert (
        record.outcomes("b")
        == record.success_counts(actor="teacher")
        == record.metrics("x")
        == record.evaluations("x")
        == []
    )
    assert record.plans(1) and record.verdicts(1) and record.skills() and len(record.calls()) == 1
    return record.content()


CALL = {k: k for k in ("key", "role", "prompt", "request", "model")}
CALL |= {"images": [], "answer": {"task": "x"}, "error": None, "replayed": False, "usd": None}


def test_all_that_is_said_to_the_database_is_postgresql_too(tmp_path):
    said = []

    def hear(connection, statement, *_):
        said.append(statement)

    event.listen(sa.Engine, "before_execute", hear)
    try:
        with Record.create(tmp_path / "run", preset("tiny")) as record:
            use_all(record)
        Record.open(tmp_path / "run").close()
    finally:
        event.remove(sa.Engine, "before_execute", hear)
    verbs = set()
    for statement in [*said, *map(CreateTable, tables.metadata.sorted_tables)]:
        found = statement.compile(dialect=psycopg.dialect())
        verbs.add(str(found).split()[0])
        # PostgreSQL takes no value whose type it is not told: `SELECT 'x' WHERE ...` is text, whatever the column is
        untold = [
            name for name, value in getattr(found, "binds", {}).items() if isinstance(value.type, sa.types.NullType)
        ]
        assert not untold, (untold, str(found))
    assert verbs == {"CREATE", "INSERT", "SELECT", "DELETE"}


@pytest.mark.skipif("LUDUS_POSTGRESQL" not in os.environ, reason="LUDUS_POSTGRESQL is not the URL of an empty database")
def test_postgresql_keeps_the_same(tmp_path):
    url = os.environ["LUDUS_POSTGRESQL"]
    with Record.create(tmp_path / "sqlite", preset("tiny")) as record:
        expected = use_all(record)
    try:
        with Record.create(tmp_path / "run", preset("tiny"), url=url) as record:
            assert use_all(record) == expected
        with Record.open(tmp_path / "run", url=url) as record:
            assert record.content() == expected and record.config == preset("tiny")
        with pytest.raises(LudusError, match="already holds a run"):
            Record.create(tmp_path / "again", preset("tiny"), url=url)
    finally:
        tables.metadata.drop_all(sa.create_engine(url))


# --- the room -------------------------------------------------------------------------------------------------------


def test_messages_are_seen_before_their_step_ends_and_posted_once(record):
    with Record.open(record.directory, write=False) as reader, record.commit("a"):
        record.post(message("m1"), message("m2"))
        record.post(message("m1", "said again"))
        assert reader.messages() == [message("m1"), message("m2")]
        first, second = reader.posted()
        assert first.step == "a" and abs(first.at - time.time()) < 60
        assert reader.posted(after=first.number) == [second]
        reader.post(message("m3", "a person steps in"))  # looking on does not hinder talking
    assert [m.key for m in record.messages()] == ["m1", "m2", "m3"]


def test_who_looks_on_adds_nothing(record):
    with Record.open(record.directory, write=False) as reader:
        for add in (lambda: reader.add_outcomes([outcome("e")]), lambda: reader.commit("a").__enter__()):
            with pytest.raises(LudusError, match="was opened to look at"):
                add()


def test_an_attempt_that_was_cut_short_takes_back_what_it_said(record):
    record.post(message("before"))
    with pytest.raises(Stop), record.commit("a"):
        stop(record.post(message("a/1", "first attempt")))
    record.post(message("between"))
    assert [m.key for m in record.messages()] == ["before", "a/1", "between"]
    with record.commit("a"):
        assert [m.key for m in record.messages()] == ["before", "between"]
        record.post(message("a/1", "second attempt"))
    assert [m.text for m in record.messages()] == ["hello", "hello", "second attempt"]


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_old_or_new_never_half(tmp_path):
    path = tmp_path / "deep" / "file"
    files.write(path, b"old")
    with pytest.raises(Stop), files.replacing(path) as temporary:
        stop(temporary.write_bytes(b"half of the n"))
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["file"]
    files.write(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_directory_is_replaced_whole(record):
    for text in ("old", "new"):
        with record.replacing("checkpoints/last") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert os.listdir(record.path("checkpoints")) == ["last"] and os.listdir(record.path("checkpoints/last")) == ["new"]


# --- crash and full disk ----------------------------------------------------------------------------------------------


def carry_out(directory, tell=lambda: None):
    """A run of 80 steps, from wherever it stands."""
    begun = directory.with_suffix(".begun")
    record = Record.open(directory) if begun.exists() else Record.create(directory, preset("tiny"))
    begun.touch()
    for i in range(80):
        step = f"step/{i}"
        if record.done(step):
            continue
        with record.commit(step) as opened:
            before = len(record.messages()), len(record.outcomes())
            for k in range(3):
                record.post(Message(f"{step}/{k}", "loop", "all", "note", f"{before}"))
                record.write_file(f"images/{i}-{k}.bin", rng(i, k).bytes(1000))
                reward = rng(i, k).random()
                record.add_outcomes([Outcome(f"e{i}", k, "c", "h", True, True, reward)])
            opened.result = {"before": before}
        tell()
    record.close()


def test_killed_at_random_and_resumed_equals_uninterrupted(tmp_path):
    draw = np.random.default_rng(0)
    carry_out(tmp_path / "whole")
    hear, say = os.pipe()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                carry_out(tmp_path / "killed", lambda: os.write(say, b"."))
            os._exit(0)
        for _ in range(draw.integers(1, 6)):  # some whole steps, and then anywhere in the next ones
            os.read(hear, 1)
        time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    left = len(Record.open(tmp_path / "killed", write=False).steps())
    carry_out(tmp_path / "killed")
    whole, killed = (Record.open(tmp_path / name, write=False) for name in ("whole", "killed"))
    assert left >= 10 and whole.content() == killed.content()
    names = os.listdir(whole.path("images"))
    assert len(names) == 240 and names == os.listdir(killed.path("images"))  # no temporary file is left either
    for name in names:
        assert whole.path("images", name).read_bytes() == killed.path("images", name).read_bytes()


def test_content_does_not_see_the_clock(tmp_path):
    contents = []
    for name in ("a", "b"):
        with Record.create(tmp_path / name, preset("tiny"), command=name) as record, record.commit("a"):
            record.add_metrics([("time/fit", 1, time.time()), ("loss", 1, 0.5), ("loss", 2, math.nan)])
            record.post(message("m"))
        with Record.open(tmp_path / name, write=False) as record:
            contents.append(record.content())
    assert contents[0] == contents[1] and len(contents[0]["metrics"]) == 2


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", disk]).returncode:
        pytest.skip("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(
    ("command", "again"), [("ludus run", "ludus resume "), ("ludus collect a", "the same `ludus collect`")]
)
def test_a_full_disk_ends_in_one_sentence_and_loses_nothing(small_disk, command, again):
    with Record.create(small_disk / "run", preset("tiny"), command=command) as record:

        def fill():
            for i in range(2000):
                with record.commit(f"step/{i}"):
                    record.add_outcomes([outcome(f"e{i}", k) for k in range(20)])

        with pytest.raises(LudusError) as caught:
            fill()
        done = len(record.steps()) - 1
        assert done > 0
        assert f"is full; everything up to step 'step/{done}' is safe" in str(caught.value)
        assert again in str(caught.value)
        with pytest.raises(LudusError, match="is full"):
            record.write_file("images/large.bin", bytes(1_000_000))
        assert not record.path("images/large.bin").exists() and not list(record.path("images").iterdir())
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    with Record.open(small_disk / "run") as record:
        assert record.last_step() == f"step/{done}" and len(record.outcomes()) == 20 * (done + 1)
        with record.commit(f"step/{done + 1}"):
            record.add_outcomes([outcome(f"e{done + 1}")])


def test_a_disk_too_full_to_begin(small_disk):
    (small_disk / "ballast").write_bytes(bytes(590_000))
    with pytest.raises(LudusError, match="is full; free some space"):
        Record.create(small_disk / "run", preset("tiny"))
    assert not (small_disk / "run").exists()


def test_a_full_disk_is_seen_behind_other_errors(small_disk):
    torch = pytest.importorskip("torch")
    with Record.create(small_disk / "run", preset("tiny")) as record:
        with pytest.raises(RuntimeError, match="something else"), record.commit("a"):
            raise RuntimeError("something else")
        full = pytest.raises(LudusError, match="is full; no step was done yet")
        with full, record.commit("a"), record.replacing("checkpoints/a.pt") as temporary:
            torch.save({"weights": torch.zeros(1_000_000)}, temporary)  # raises a RuntimeError about positions
