"""Questions that wait in the room: asked by a run, answered by another process."""

import io
import os
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from rich.console import Console

from ludus.cli.common import terminal
from ludus.config import Config, ExperimenterConfig
from ludus.experimenter import asks_others, assemble
from ludus.experimenter.agent import read
from ludus.experimenter.answers import ProposeAnswer, retrieve_answer
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import Ledger
from ludus.experimenter.outside import Question
from ludus.experimenter.roles import NoAnswer, ProposeQuestion, RetrieveQuestion, Scene, SkillStats
from ludus.lab import mailbox
from ludus.lab.mailbox import LONGEST_ANSWER, RoomMailbox, answer, answer_text, open_question, receipt
from ludus.lab.oversight import LAST_STEP
from ludus.record import Progress, Record
from ludus.record.mapping import posted
from ludus.skills.predicates import Vocabulary
from ludus.types import LudusError, Message, ObservationSpec, Proposal
from ludus.views.terminal import TerminalProgress

WORDS = Vocabulary(ObservationSpec(()), (), ())
SCENE = Scene(("red", "green"), ("on(red, green)",))
SKILLS = (SkillStats("reach red", "at(red)"), SkillStats("lift red", "high(red)"))
PROPOSE = ProposeQuestion("r1-s0-a0/propose", SCENE, SKILLS, remarks=("try <b>red</b>",))
RETRIEVE = RetrieveQuestion("r1-s0-a0/retrieve/0", "go to red", SCENE, SKILLS)
ASKED = Question(
    "r1/propose", "propose", "agent", "Which task?", "Which task, in detail?", {"properties": {"task": {}}}
)


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(mailbox, "POLL_S", 0.005)
    with Record.create(tmp_path / "run", Config()) as record:
        yield record


@contextmanager
def asking(ask):
    """`ask` in a thread, as the run would; yields what it returned or raised, once it did."""
    found = []

    def work():
        try:
            found.append(ask())
        except LudusError as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield found
    thread.join(20)
    assert not thread.is_alive()


def opened(record):
    """The open question, as another process sees it."""
    for _ in range(1000):
        with Record.open(record.directory, write=False) as other:
            if found := open_question(other):
                return found
        time.sleep(0.005)
    raise AssertionError("nothing was asked")


def put(record, said, key=None, author="agent"):
    """The receipt of an answer that another process gives, once there is one."""
    with Record.open(record.directory, write=False) as other:
        offer = answer(other, key or open_question(other).key, said, author)
        for _ in range(1000):
            found = receipt(other, offer)
            if found.state != "waiting":
                return found
            time.sleep(0.005)
    return found


def task(said):
    if "task" not in said:
        raise LudusError("task: Field required")
    return said


def kinds(record):
    return [m.kind for m in record.messages()]


# --- question and answer -----------------------------------------------------------------------------------------


def test_a_bad_answer_is_refused_and_the_question_stays_open(record):
    box = RoomMailbox(record, Progress(record))
    with asking(lambda: box.ask(ASKED, task)) as found:
        question = opened(record)
        assert question == ASKED and question.key.startswith("question/r1/propose/")
        assert [(s.name, s.total) for s in record.stages()] == [("waiting for an agent: propose", 0)]
        refused = put(record, {"tsk": "lift"})
        assert (refused.state, refused.why) == ("refused", "task: Field required")
        assert opened(record) == ASKED
        with Record.open(record.directory, write=False) as other:
            offer = answer(other, question.key, {"task": "lift"}, "agent")
            late = answer(other, question.key, {"task": "drop"}, "person")
    assert found == [{"task": "lift"}]
    box.close(ASKED, found[0])
    assert receipt(record, offer).state == "accepted" and receipt(record, late).state == "late"
    assert open_question(record) is None
    assert kinds(record) == ["question", "answer", "refused", "answer", "answer", "accepted"]
    with pytest.raises(LudusError, match=r"'question/r1/propose/\w+' is not open any more; none is"):
        answer(record, question.key, {"task": "lift"}, "agent")


def test_an_answer_that_is_given_while_the_run_is_stopped_is_found_when_it_goes_on(record):
    def stopped():
        with record.commit("round/1/plan"):
            record.post(mailbox._put(ASKED))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with Record.open(record.directory, write=False) as other:
        offer = answer(other, open_question(other).key, {"task": "lift"}, "agent")
        assert receipt(other, offer).state == "waiting"
    box = RoomMailbox(record, Progress())
    with record.commit("round/1/plan"):
        assert box.ask(ASKED, task) == {"task": "lift"}
        box.close(ASKED, {"task": "lift"})
    assert receipt(record, offer).state == "accepted" and kinds(record) == ["answer", "question", "accepted"]


def test_what_a_run_asked_before_it_died_waits_no_more_when_it_is_over(record):
    def asks_and_dies():
        with record.commit("round/1/plan"):
            record.post(mailbox._put(ASKED))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asks_and_dies()
    assert open_question(record) == ASKED
    with record.commit(LAST_STEP):
        pass
    assert open_question(record) is None
    with pytest.raises(LudusError, match="is not open any more; none is"):
        answer(record, ASKED.key, {"task": "lift"}, "agent")


def test_answers_to_other_questions_are_not_read(record, monkeypatch):
    """Nor are those that were read once; those from before the question are, for a run that goes on asks it again."""
    others = {"key": "question/another", "answer": {"task": "x" * 1000}}
    given = mailbox._offer("answer/old", ASKED, {"task": "lift"}, "agent")
    record.post(given, *(Message(f"a{i}", "a", "b", "answer", "x", payload=others) for i in range(2000)))
    record.post(mailbox._put(ASKED))
    read = []
    monkeypatch.setattr(mailbox, "posted", lambda row: read.append(row["key"]) or posted(row))
    assert [o.message.key for o in mailbox._offers(record, ASKED.key)] == read == ["answer/old"]
    assert [r.state for r in mailbox.receipts(record, ASKED.key)] == ["waiting"]
    plan = "EXPLAIN QUERY PLAN SELECT * FROM messages WHERE run_id = '' AND kind = 'answer' AND number > 7"
    with sqlite3.connect(record.directory / "ludus.db") as database:
        assert "messages_kind" in database.execute(plan).fetchone()[-1]
    database.close()


def test_a_question_that_is_asked_in_other_words_is_another_one(record):
    other = Question("r1/propose", "propose", "agent", "Which task?", "Which task now?", ASKED.schema)
    record.post(mailbox._put(ASKED), mailbox._put(other))
    assert open_question(record) == other and other.key != ASKED.key
    with pytest.raises(LudusError, match=f"open is '{other.key}'"):
        answer(record, ASKED.key, {"task": "lift"}, "agent")


def test_nobody_answers_in_time(record):
    box = RoomMailbox(record, Progress(), timeout_s=0.02)
    with pytest.raises(NoAnswer, match=r"nobody answered within experimenter.answer_s=0\.02"):
        box.ask(ASKED, task)
    box.close(ASKED, None)
    assert open_question(record) is None and kinds(record) == ["question", "lapsed"]


def test_a_run_that_waits_shows_that_it_is_there(record, monkeypatch):
    monkeypatch.setattr(mailbox, "SIGN_OF_LIFE_S", 0.0)
    monkeypatch.setattr("ludus.record.progress.WRITE_INTERVAL_S", 0.0)
    before, seen = record.heartbeat(), []
    box = RoomMailbox(record, Progress(record), 0.05, lambda: seen.extend(record.stages()))
    with pytest.raises(NoAnswer):
        box.ask(ASKED, task)
    assert all(stage.finished is None for stage in seen) and seen[-1].updated > seen[-1].started
    assert record.heartbeat() != before and record.stages()[0].finished is not None  # it waits no more


# --- what may be put in ------------------------------------------------------------------------------------------


def nested(n):
    found = "deep"
    for _ in range(n):
        found = [found]
    return {"task": found}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"task": "x" * LONGEST_ANSWER}, "at most 20,000 are read"),
        (nested(50_000), "nested deeper than 10 levels"),
        ({"task": float("nan")}, "no JSON"),
        ({"task": 10**5000}, "no JSON"),
        ({"task": object()}, "no JSON"),
    ],
)
def test_what_the_run_could_not_read_is_refused_before_it_is_kept(record, said, why):
    record.post(mailbox._put(ASKED))
    with pytest.raises(LudusError, match=why):
        answer(record, ASKED.key, said, "agent")
    assert kinds(record) == ["question"]


@pytest.mark.parametrize("author", ["", "experimenter", "loop", "a\x1b[2Jb", "x" * 41, "agent\nperson", "<script>"])
def test_nobody_answers_in_a_modules_name(record, author):
    record.post(mailbox._put(ASKED))
    with pytest.raises(LudusError, match="nobody who speaks is called"):
        answer(record, ASKED.key, {"task": "lift"}, author)


def test_an_answer_steers_no_terminal(record):
    record.post(mailbox._put(ASKED))
    hostile = "\x1b[2J<script>alert(1)</script>\u202e"
    offer = answer(record, ASKED.key, {"task": hostile}, "agent")
    assert "\x1b" not in offer.text and "\u202e" not in offer.text
    with pytest.raises(LudusError) as error:
        answer(record, f"{hostile}../../etc/passwd", {}, "agent")
    assert "\x1b" not in str(error.value)


# --- by words ----------------------------------------------------------------------------------------------------


def test_a_person_answers_an_agents_question_by_json(record):
    with pytest.raises(LudusError, match="no question waits"):
        answer_text(record, "lift", "person")
    record.post(mailbox._put(ASKED))
    with pytest.raises(LudusError, match="a JSON object with the fields task"):
        answer_text(record, "lift red", "person")
    assert answer_text(record, '{"task": "lift red"}', "person").payload["answer"] == {"task": "lift red"}


def play(player, record, recording=(), **settings):
    config = ExperimenterConfig(*[player] * 5, **settings)
    ledger = Ledger(record, None, recording, strict=bool(recording))
    return assemble(RoleContext(WORDS, 0, config, ledger, mailbox=RoomMailbox(record, Progress(), config.answer_s)))


def test_a_person_without_a_terminal_answers_in_the_room(record):
    with asking(lambda: play("human", record).propose(PROPOSE)) as found:
        assert "Which task should the robot try next?" in opened(record).text
        answer_text(record, "lift  red\x1b[D", "person")
        while (question := opened(record)).name != "r1-s0-a0/propose/chance":
            time.sleep(0.005)
        assert put(record, {"text": "2"}, author="person").why == "'2' is not a number from 0 to 1"
        assert put(record, ["2"], author="person").why == 'an answer is {"text": "..."}'
        assert question == opened(record)
        answer_text(record, "0.3", "person")
    assert found == [Proposal("lift red [D", "a person says so", 0.3)]
    assert {c["model"] for c in record.calls()} == {"human"} and [c["turns"] for c in record.calls()] == [1, 3]


# --- the experimenter 'agent' ------------------------------------------------------------------------------------


def test_an_agent_is_asked_as_a_model_is_and_recorded(record, tmp_path):
    said = {"task": "lift red", "why": "new", "success_probability": "30 %"}
    with asking(lambda: play("agent", record).propose(PROPOSE)) as found:
        question = opened(record)
        assert "Your part is the curriculum" in question.text and '"try <b>red</b>"' in question.text
        assert question.schema["properties"]["task"] and question.summary.startswith("Objects: red, green.")
        assert put(record, {"tsk": "lift red"}).why.startswith("no field 'tsk' in this answer; its fields are task")
        assert "Input should be less than or equal to 1" in put(record, said | {"success_probability": 700}).why
        assert put(record, said).state == "accepted"
    assert found == [Proposal("lift red", "new", 0.3)]
    (call,) = record.calls()
    assert (call["model"], call["prompt"], call["turns"], call["usd"]) == ("agent", "propose 2", 3, None)
    assert play("agent", record).propose(PROPOSE) == found[0]  # after a crash nobody is asked again

    with Record.create(tmp_path / "again", Config()) as again:
        assert play("agent", again, record.calls()).propose(PROPOSE) == found[0]  # nor by a replay, which shows both
        assert kinds(again) == ["question", "answer", "accepted"] and open_question(again) is None


def test_an_agent_that_does_not_answer_cannot_tell(record):
    ask = play("agent", record, answer_s=0.01)
    for _ in range(2):  # the second time the ledger knows
        with pytest.raises(NoAnswer, match="nobody answered within"):
            ask.retrieve(RETRIEVE)
    assert kinds(record) == ["question", "lapsed"] and [c["answer"] for c in record.calls()] == [None]


def test_an_agent_needs_a_room_and_is_asked_one_question_at_a_time(record):
    with pytest.raises(LudusError, match="answers in the room of a run"):
        assemble(RoleContext(WORDS, 0, ExperimenterConfig("agent"), Ledger(record)))
    assert asks_others(ExperimenterConfig(analyse="agent")) and not asks_others(ExperimenterConfig())
    assert not play("agent", record).is_remote


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("reach red", "an answer is a JSON object with the fields caption, missing; this is of type str"),
        ({}, "caption: Field required"),
        ({"caption": "raech red"}, "caption: Input should be 'reach red' or 'none fits'"),
        ({"caption": "reach red", "because": 1}, "no field 'because' in this answer; its fields are caption, missing"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(said, why):
    with pytest.raises(LudusError) as error:
        read(said, retrieve_answer(["reach red"]))
    assert str(error.value) == why


def test_what_is_only_written_in_another_way_is_taken():
    kind = retrieve_answer(["reach red"])
    assert read({"caption": " Reach Red."}, kind) == read({"answer": {"caption": "reach red"}}, kind)
    assert read({}, ProposeAnswer)["task"] is None  # can't tell


# --- what a run that waits shows ---------------------------------------------------------------------------------


def test_a_log_file_says_what_a_run_waits_for_as_soon_as_it_does():
    console = Console(file=io.StringIO())
    with TerminalProgress(console) as shown, Progress(None, shown.show).stage("waiting for an agent: propose", 0):
        assert console.file.getvalue() == "waiting for an agent: propose ...\n"
    assert console.file.getvalue().endswith("waiting for an agent: propose (0 s)\n")


def test_nobody_is_at_the_terminal_of_a_command_in_the_background(monkeypatch):
    with open(os.devnull) as nothing, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", nothing)
        with terminal(Console(file=io.StringIO()), None) as shell:
            assert shell.person is None
    monkeypatch.setattr(sys, "stdin", io.StringIO("lift red\n"))
    with terminal(Console(file=io.StringIO()), None) as shell:
        assert shell.person("What now?") == "lift red"
