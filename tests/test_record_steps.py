"""Steps are whole or absent, and everything reads back as it was added, in SQLite and in PostgreSQL."""

import math
import threading
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa
from record_parts import CALL, COUNTS, PLAN, VERDICT, Skill, Stop, add_all, message, outcome, stop, use_all
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.schema import CreateTable

from ludus.config import preset
from ludus.record import Record, tables
from ludus.record import database as databases
from ludus.types import LudusError, Plan, Proposal, Retrieval, SuccessCount


@pytest.fixture
def record(tmp_path, database):
    with Record.create(tmp_path / "run", preset("tiny"), url=database) as record:
        yield record


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
    for step in (None, "a"):  # outside of a step everything is written at once; keys make it idempotent
        if step:
            with record.commit(step):
                add_all(record)
        else:
            add_all(record)
    assert record.messages() == [message("m1"), message("m2")]
    assert record.messages("note") == record.messages() and record.messages("plan") == []
    assert record.skills()[0] == {
        "hash": "h1", "caption": "reach red", "reward": "near(red)", "success": "at(red)", "steps": 80, "base": True,
        "round": 3, "author": "base", "parents": (), "status": "base", "changed": 3,
    }  # fmt: skip
    assert len(record.skills()) == 1
    assert [(e.stage, e.update, e.count) for e in record.evaluations()] == [("before", 7, t) for t in COUNTS]
    assert record.evaluations("after") == []
    assert record.plans(1) == record.plans() == [(1, PLAN)] and record.plans(2) == []
    assert record.verdicts() == record.verdicts(1) == [(1, 800, VERDICT)]
    names, updates, values = zip(*record.metrics(), strict=True)
    assert names == ("loss/critic", "loss/actor", "time/fit") and updates == (1, 1, 1)
    assert values[0] == 0.5 and math.isnan(values[1])
    assert [m[0] for m in record.metrics("loss/")] == ["loss/critic", "loss/actor"]


def test_a_skill_has_an_author_and_a_status_that_changes_with_a_step(record):
    record.add_skills([Skill()])
    with record.commit("round/1/plan"):
        record.add_skills([Skill("h2", "turn red", base=False)], 1, "planner", ["reach red"], "candidate")
        record.set_skill_status("turn red", "practising", 1)
    assert [s["status"] for s in record.skills()] == ["base", "practising"]
    with pytest.raises(Stop), record.commit("round/2/settle"):
        stop(record.set_skill_status("turn red", "dropped", 2))
    for _ in range(2):
        with suppress(LudusError), record.commit("round/2/settle"):
            record.set_skill_status("turn red", "accepted", 2)
    found = record.skills()[1]
    assert (found["author"], found["parents"], found["round"]) == ("planner", ("reach red",), 1)
    assert (found["status"], found["changed"]) == ("accepted", 2)
    record.add_skills([Skill("h3", "push red", base=False)], round=2)
    assert [record.skills()[2][k] for k in ("author", "status", "changed")] == ["extra", "accepted", 2]
    with pytest.raises(LudusError, match="unknown skill 'turn rad'; nearest: 'turn red'"):
        record.set_skill_status("turn rad", "dropped", 3)
    with pytest.raises(LudusError, match="unknown status of a skill 'drop'; nearest: 'dropped'"):
        record.set_skill_status("turn red", "drop", 3)


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


# --- both databases ---------------------------------------------------------------------------------------------------


def test_all_that_is_said_to_the_database_is_postgresql_too(tmp_path, monkeypatch):
    said = []
    # SQLite takes this one as well; PostgreSQL's compiler does not take that of SQLite
    monkeypatch.setitem(databases.INSERT, "sqlite", postgresql.insert)

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


def test_every_database_keeps_the_same(tmp_path, database):
    with Record.create(tmp_path / "own", preset("tiny")) as record:
        expected = use_all(record)
    with Record.create(tmp_path / "run", preset("tiny"), url=database) as record:
        assert use_all(record) == expected
    with Record.open(tmp_path / "run") as record:  # the directory knows its database
        assert record.content() == expected and record.config == preset("tiny")
    with Record.open(tmp_path / "run", url=database, write=False) as record:
        assert record.content() == expected
    with pytest.raises(LudusError, match="already holds a run"):
        Record.create(tmp_path / "run", preset("tiny"), url=database)


def test_text_that_is_no_utf_8_is_kept_without_what_is_not(record):
    half, kept = "go to red \ud83d", "go to red ?"
    record.post(replace(message("m", half), images=(half,), payload={half: [half]}))
    record.add_call(CALL | {"answer": {"task": half}, "error": half})
    record.add_skills([Skill(caption=half)])
    record.add_plan(1, Plan("p", Proposal(half, half, 0.5, half), (half,), (Retrieval(half, half, half),)))
    with record.commit("a") as step:
        step.result = {half: half}
    (said,) = record.messages()
    assert (said.text, said.images, said.payload) == (kept, (kept,), {kept: [kept]})
    assert record.calls()[0]["answer"] == {"task": kept} and record.skills()[0]["caption"] == kept
    assert record.plans()[0][1] == Plan("p", Proposal(kept, kept, 0.5, kept), (kept,), (Retrieval(kept, kept, kept),))
    assert record.result("a") == {kept: kept}


def test_text_with_a_nul_is_kept_without_it(record):
    record.post(message("m", "an \0 in a model's answer"))
    record.add_call(CALL | {"answer": {"task": "\0"}, "error": "\0"})
    assert record.messages()[0].text == "an \N{REPLACEMENT CHARACTER} in a model's answer"
    assert record.calls()[0]["answer"] == {"task": "\0"}


def test_two_writers_of_the_same_keys_both_succeed(record):
    """The run, and people who post: what each said is there once, and the numbers grow in the order of the commits."""
    seen, failed, done = [], [], threading.Event()

    def say():
        try:
            with Record.open(record.directory, write=False) as other:
                for i in range(40):
                    other.post(message(f"m{i}"))
        except Exception as error:
            failed.append(error)

    def listen():
        with Record.open(record.directory, write=False) as other:
            while True:
                last = done.is_set()
                seen.extend(other.posted(after=seen[-1].number if seen else 0))
                if last:
                    return

    talkers = [threading.Thread(target=say) for _ in range(3)]
    listener = threading.Thread(target=listen)
    for thread in (listener, *talkers):
        thread.start()
    for thread in talkers:
        thread.join()
    done.set()
    listener.join()
    assert not failed and sorted(m.key for m in record.messages()) == sorted(f"m{i}" for i in range(40))
    assert [p.message for p in seen] == record.messages()
