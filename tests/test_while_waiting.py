"""Commands that are said while a run waits for an answer or an approval."""

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest
from command import ludus
from test_experiment_models import content
from test_lab_mailbox import ASKED
from test_oversight import overseer, room  # noqa: F401

from ludus.config import BudgetConfig
from ludus.experimenter import outside
from ludus.experimenter.ledger import MAX_FAILURES, WITHDRAWN, Ledger, Request, Withdrawn
from ludus.experimenter.roles import NoAnswer
from ludus.lab import mailbox
from ludus.lab.mailbox import RoomMailbox, answer, answer_text, open_question
from ludus.lab.oversight import EFFECT, interventions, say
from ludus.lab.rounds import begun_rounds, last_round
from ludus.lab.standing import standing
from ludus.record import Progress, Record
from ludus.views.queries import still_open

REQUEST = Request("r1/propose", 0, "propose", "agent 1", "asked", (), "agent")


@pytest.fixture
def waiting(room, monkeypatch):  # noqa: F811
    """`waiting(step, *events)` -> (record, overseer, ask): `ask` waits within the step; each time that it looks, an event."""

    def make(*events, timeout_s=0.0, recording=()):
        record, watched = room()
        script = iter(events)
        monkeypatch.setattr(mailbox.time, "sleep", lambda _: next(script)(record))
        box = RoomMailbox(record, Progress(record), timeout_s, watched.while_waiting)
        ledger = Ledger(record, BudgetConfig(), recording, strict=bool(recording))
        return record, watched, lambda: outside.ask(ledger, box, ASKED, REQUEST, dict, usd=None)

    return make


def says(line, author="Anna"):
    return lambda record: say(record, line, author)


def answers(record):
    answer(record, open_question(record).key, {"task": "lift"}, "agent")


def nothing(record):
    pass


def effects(record):
    return [(m.payload["outcome"], m.text) for m in record.messages(EFFECT)]


def test_a_pause_is_acknowledged_at_once_and_carried_out_after_the_step(waiting, monkeypatch):
    clock = itertools.count(0, 10)
    record, watched, ask = waiting(says("/pause"), nothing, nothing, answers, timeout_s=25)
    monkeypatch.setattr(mailbox.time, "monotonic", lambda: next(clock))  # which the pause stops
    with record.commit("round/1/collect/000"):
        assert ask() == {"task": "lift"}
    assert effects(record) == [
        ("heard", "Heard: /pause is carried out before the next step, when the open question is answered.")
    ]
    still = still_open(record)
    assert still.paused and not still.in_force and not standing(interventions(record)).paused
    say(record, "/continue")
    assert not still_open(record).paused
    watched.before("round/1/train/000")
    assert [o for o, _ in effects(record)] == ["heard", "done", "done"]
    assert record.messages(EFFECT)[1].payload["command"] == record.messages(EFFECT)[0].payload["command"]


def test_a_stop_withdraws_the_question_of_a_round_that_does_not_come(waiting):
    record, watched, ask = waiting(says("/veto mark home"), says("/stop"))
    with pytest.raises(Withdrawn), record.commit("round/2/plan"):
        ask()
    assert not record.done("round/2/plan") and not record.calls() and open_question(record) is None
    assert record.messages("lapsed")[0].text == "'r1/propose' needs no answer any more: the run was told to stop."
    assert record.stages()[0].finished is not None
    watched.before("round/2/plan")
    assert watched.ends_before(2) and [o for o, _ in effects(record)] == ["heard", "heard", "done", "done"]


def test_in_a_round_that_has_begun_nobody_is_waited_for_after_a_stop(waiting):
    record, watched, ask = waiting(says("/stop"))
    with record.commit("round/1/train/000"), pytest.raises(NoAnswer, match=WITHDRAWN):
        ask()
    (call,) = record.calls()
    assert call["answer"] is None and call["error"] == WITHDRAWN
    with record.commit("round/1/train/001"), pytest.raises(NoAnswer):
        ask()  # the ledger knows
    watched.before("round/1/settle")
    assert watched.ends_before(2) and "Nobody is asked anything any more" in effects(record)[-1][1]
    with record.commit("round/1/train/002"), pytest.raises(NoAnswer, match=WITHDRAWN):
        watched.while_waiting()
    say(record, "/continue")
    with record.commit("round/1/train/003"):
        assert watched.while_waiting() is False

    again, _, ask = waiting(recording=record.calls())  # a replay asks nobody
    with again.commit("round/1/train/000"), pytest.raises(NoAnswer, match=WITHDRAWN):
        ask()


def test_questions_that_nobody_was_waited_for_are_no_failures(tmp_path, room):  # noqa: F811
    record, _ = room()
    ledger = Ledger(record, BudgetConfig())

    def withdrawn():
        raise NoAnswer(WITHDRAWN)

    class Box:
        ask = staticmethod(lambda *_: withdrawn())
        close = staticmethod(lambda *_: None)

    for k in range(MAX_FAILURES + 2):
        request = Request(f"r1/analyse/{k}", 0, "analyse", "agent 1", "asked", (), "agent")
        with pytest.raises(NoAnswer):
            outside.ask(ledger, Box, ASKED, request, dict, usd=None)


def test_a_run_that_is_killed_while_it_waits_hears_the_stop_when_it_goes_on(waiting):
    def told_and_killed(record):
        say(record, "/stop")
        raise KeyboardInterrupt

    record, _, ask = waiting(told_and_killed)
    with pytest.raises(KeyboardInterrupt), record.commit("round/2/plan"):
        ask()
    assert open_question(record) == ASKED
    again = overseer(record)
    again.before("round/2/plan")
    assert again.ends_before(2) and [o for o, _ in effects(record)] == ["done"]


def test_a_stop_ends_the_waiting_for_approval_by_the_default(room, monkeypatch):  # noqa: F811
    from ludus.lab import interventions
    from ludus.skills.library import Skill

    record, watched = room("oversight.timeout_s=1e9", "oversight.default=reject")
    with record.commit("round/2/plan"):
        record.add_skills([Skill("pass home", "0", "at(home)", base=False)], 2, "planner", (), "candidate")
    monkeypatch.setattr(interventions.time, "sleep", lambda _: say(record, "/stop", "Anna"))
    watched.decide(2)
    assert [t for _, t in effects(record)][-1] == "'pass X' is dropped: the run is to stop, and nobody had decided."
    assert [record.result(f"oversight/00{k}")["before"] for k in range(2)] == ["round/2/approve"] * 2
    assert watched.ends_before(3) and not watched.ends_before(2)


def test_a_run_that_is_paused_waits_for_approval_also_if_it_is_to_stop(room, monkeypatch):  # noqa: F811
    from ludus.lab import interventions
    from ludus.skills.library import Skill

    record, watched = room("oversight.timeout_s=1e9", "oversight.default=reject")
    with record.commit("round/2/plan"):
        record.add_skills([Skill("pass home", "0", "at(home)", base=False)], 2, "planner", (), "candidate")
    lines = iter(["nothing yet", "still nothing", "/approve pass home"])
    say(record, "/stop", "Anna")
    say(record, "/pause", "Anna")
    monkeypatch.setattr(interventions.time, "sleep", lambda _: say(record, next(lines), "Anna"))
    watched.decide(2)
    assert [t for _, t in effects(record)][-1] == "'pass X' is practised: Anna says so."
    assert still_open(record).paused and still_open(record).stopping and still_open(record).in_force


def test_a_round_that_was_only_asked_for_ahead_has_not_begun():
    names = ("pretrain/train/000", "round/1/plan", "round/1/collect/000", "round/2/ahead")
    assert [last_round(names[:n]) for n in range(5)] == [0, 0, 1, 1, 1] and last_round(("round/12/plan",)) == 12


# --- real processes ----------------------------------------------------------------------------------------------

RUN = (
    *(
        "run",
        "--preset",
        "tiny",
        "experimenter.propose=human",
        "world.n_blocks=1",
        "world.n_envs=2",
        "seed_data.episodes=2",
    ),
    *("training.updates=2", "training.evaluate_every=2", "training.evaluation_episodes=0", "training.round_updates=2"),
    *(
        "experiment.rounds=2",
        "experiment.episodes_per_round=2",
        "experiment.practice_ratio=0",
        "experiment.final_episodes=0",
    ),
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_waits_is_told_killed_stopped_and_goes_on(tmp_path, request):
    directory, log = tmp_path / "run", (tmp_path / "log").open("w")

    def started(*arguments):
        line = [sys.executable, "-m", "ludus.cli", *map(str, arguments)]
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        request.addfinalizer(process.kill)
        return process

    def until(process, look):
        for _ in range(3000):
            try:
                with Record.open(directory, write=False) as record:
                    if found := look(record):
                        return found
            except Exception:
                pass  # not begun yet
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        raise AssertionError((tmp_path / "log").read_text())

    def said(line):
        with Record.open(directory, write=False) as record:
            (answer_text if not line.startswith("/") else say)(record, line, "Anna")

    def asked(name):
        return lambda record: (q := open_question(record)) is not None and q.name == name

    process = started(*RUN, "--dir", directory)
    for name, line in (("r1-s0-a0/propose", "reach red"), ("r1-s0-a0/propose/chance", "0.5")):
        until(process, asked(name))
        said(line)
    until(process, asked("r1-s1-a0/propose"))
    said("/pause")
    until(process, lambda record: [m for m in record.messages(EFFECT) if m.payload["outcome"] == "heard"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process = started("resume", directory)
    until(process, lambda record: [m for m in record.messages(EFFECT) if m.payload["outcome"] == "done"])  # paused
    said("/continue")
    until(process, asked("r1-s1-a0/propose"))
    said("/stop")
    assert process.wait(300) == 0, (tmp_path / "log").read_text()
    with Record.open(directory, write=False) as record:
        assert record.state() == "done" and begun_rounds(record) == 0 and open_question(record) is None
        assert len(record.calls()) == 2
    assert "said /stop" in (tmp_path / "log").read_text()

    process = started("resume", directory, "experiment.rounds=1")
    for name, line in (("r1-s1-a0/propose", "grasp red"), ("r1-s1-a0/propose/chance", "0.5")):
        until(process, asked(name))
        said(line)
    assert process.wait(300) == 0, (tmp_path / "log").read_text()
    with Record.open(directory, write=False) as record:
        assert begun_rounds(record) == 1 and len(record.calls()) == 4
    ludus(*RUN, "--replay", directory, "--strict", "--dir", tmp_path / "again")
    first, again = content(directory), content(tmp_path / "again")
    assert all(first[table] == again[table] for table in ("plans", "episodes", "outcomes", "skills"))
    assert {c["replayed"] for c in again["calls"]} == {True}
