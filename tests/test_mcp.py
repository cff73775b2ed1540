"""`ludus mcp`: a coding agent plays the experimenter of a run, sees no more than it should, and can do no harm."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from command import ludus
from test_experiment_models import SMALL, content
from test_lab_mailbox import ASKED

from ludus.cli import mcp as command
from ludus.config import ROLES, Config, override, preset
from ludus.experiment import loop
from ludus.experiment.collection import Driver
from ludus.experiment.compose import compose
from ludus.lab import mailbox
from ludus.lab.mailbox import LONGEST_ANSWER, RoomMailbox
from ludus.record import Progress, Record
from ludus.seeding import child
from ludus.types import LudusError
from ludus.views.mcp.door import Door

needs_mcp = pytest.mark.skipif(find_spec("mcp") is None, reason="the package mcp is missing: pip install 'ludus[mcp]'")
SEED = 987654321
RUN = ("run", *SMALL, "--preset", "tiny", "--experimenter", "agent", "--seed", SEED)
SHORT = ("experiment.rounds=1", "experiment.plans_per_round=1", "experiment.final_episodes=0")
CONFIG = override(preset("tiny"), [*SMALL, *SHORT, *(f"experimenter.{role}=agent" for role in ROLES), f"seed={SEED}"])


class Player:
    """Answers as an agent would: its first task needs a skill that is missing; the others can be done."""

    def __init__(self, skill=None):
        self.asked, self.skill = [], skill or {"caption": None}  # can't tell

    def __call__(self, question):
        self.asked.append(question)
        wave = "wave" in question["text"].rpartition("Objects:")[2] or '"wave"' in question["text"]
        return getattr(self, question["role"])(wave)

    def propose(self, _):
        first = not any(q["role"] == "decompose" for q in self.asked)
        return {"task": "wave at red" if first else "reach red", "why": "it is there", "success_probability": 0.4}

    def decompose(self, wave):
        return {"steps": ["wave"] if wave else ["go to red"]}

    def retrieve(self, wave):
        return {"caption": "none fits", "missing": "wave at red"} if wave else {"caption": "reach red"}

    def analyse(self, _):
        return {"judgement": "learning", "probability": 0.8, "why": "it rises"}

    def write_skill(self, _):
        return self.skill


@contextmanager
def playing(directory, player):
    """A thread that answers a run's questions through a door of its own."""
    over = threading.Event()

    def play():
        door = None
        while not over.is_set():
            try:
                door = door or Door(directory)
                if question := door.question():
                    offer = door.answer(question["question"], player(question))
                    while door.receipt(offer).state == "waiting":
                        time.sleep(0.02)
            except LudusError:  # not begun yet
                pass
            time.sleep(0.02)
        if door:
            door.close()

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class EnoughError(Exception):
    pass


def until_rounds(driver, name, *arguments, collect=Driver.collect, **more):
    """Robots do not move once all is asked."""
    if name.startswith("round/"):
        raise EnoughError
    return collect(driver, name, *arguments, **more)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A tiny run as far as it asks: training, the plans of a round and a skill for their gap; and its player."""
    directory, player = tmp_path_factory.mktemp("agent") / "run", Player()
    with pytest.MonkeyPatch.context() as patch, playing(directory, player):
        patch.setattr(mailbox, "POLL_S", 0.02)
        patch.setattr(Driver, "collect", until_rounds)
        with Record.create(directory, CONFIG) as record, compose(record) as experiment, pytest.raises(EnoughError):
            loop.run(experiment)
    return directory, player


def test_an_agent_plays_every_role(played):
    directory, player = played
    with Record.open(directory, write=False) as record:
        calls, plans, grown = record.calls(), [p for _, p in record.plans()], record.result("round/1/grow")
        kinds = [m.kind for m in record.messages()]
    assert {c["role"] for c in calls} == set(ROLES) and {c["model"] for c in calls} == {"agent"}
    assert len(calls) == len(player.asked) == kinds.count("question") == kinds.count("accepted")
    assert plans[0].gaps and plans[0].proposal.task == "wave at red" and plans[1].captions == ("reach red",)
    assert [g["missing"] for g in grown["gaps"]] == ["wave"] and grown["gaps"][0]["author"] == "agent"


# --- what an agent may see ---------------------------------------------------------------------------------------


def everything(door):
    """All that tools and resources return where no question is open."""
    names = [row["caption"] for row in door.library()] + [row["template"] for row in door.library()]
    found = [door.question(), door.status(), door.library(), door.episodes(), *map(door.passport, dict.fromkeys(names))]
    return json.dumps(found, ensure_ascii=False)


def test_evaluation_and_its_code_are_out_of_reach(played):
    directory, player = played
    door = Door(directory)
    try:
        shown = everything(door)
        assert door.look("reach red")[0].startswith(b"\x89PNG") and door.look("reach X")[0].startswith(b"\x89PNG")
    finally:
        door.close()
    asked = "".join(q["text"] for q in player.asked)
    with Record.open(directory, write=False) as record:
        starts = [child(SEED, "evaluation", name) for name in ("measure", *(s.name for s in record.steps()))]
        seeds = {str(seed) for seed in (SEED, *starts, *(r["seed"] for r in content(directory)["episodes"]))}
        code = {s["success"] for s in record.skills()} | {s["reward"] for s in record.skills()}
    assert "reach red" in shown and "seed-data" in shown
    for secret in (*seeds, *code, str(directory), "ludus.db", '"before"', '"after"'):
        assert secret not in shown, secret
    for secret in (*seeds, str(directory), "ludus.db"):
        assert secret not in asked, secret
    learned = "".join(q["text"] for q in player.asked if q["role"] != "write_skill")
    assert not [c for c in code if c in learned and len(c) > 12]  # facts of the scene are said by the same words


@pytest.mark.parametrize("what", ["../ludus.db", "/etc/passwd", "images/r1-s0.png", "\x1b[2J", "x" * 10_000])
def test_paths_name_nothing(played, what):
    door = Door(played[0])
    try:
        with pytest.raises(LudusError, match="unknown skill") as error:
            door.look(what)
        with pytest.raises(LudusError):
            door.passport(what)
    finally:
        door.close()
    assert "\x1b" not in str(error.value) and len(str(error.value)) < 1000


@pytest.fixture
def waiting(tmp_path):
    """The directory of a run in which a question waits, with a picture that lies elsewhere."""
    with Record.create(tmp_path / "run", Config()) as record:
        (tmp_path / "secret.png").write_bytes(b"secret")
        record.post(mailbox._put(dataclasses.replace(ASKED, images=("../secret.png", "ludus.db"))))
    return tmp_path / "run"


def test_pictures_are_those_of_the_run(waiting):
    door = Door(waiting)
    with pytest.raises(LudusError, match="no question with pictures"):
        door.look()
    door.close()


def test_a_persons_question_is_not_the_agents(tmp_path):
    with Record.create(tmp_path / "run", Config()) as record:
        record.post(mailbox._put(dataclasses.replace(ASKED, addressee="human", key="q")))
    door = Door(tmp_path / "run")
    assert door.question() is None and door.status()["waits_for"]["who"] == "human"
    with pytest.raises(LudusError, match="waits for a person"):
        door.answer("q", {"text": "lift"})
    door.close()


def test_a_folder_of_runs_is_no_run(waiting):
    with pytest.raises(LudusError, match="is a folder of runs; name the directory of one: run"):
        Door(waiting.parent)


def test_a_missing_package_is_one_sentence(waiting, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("mcp.") or n == "ludus.views.mcp.server"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(LudusError, match=r"`pip install 'ludus\[mcp\]'` brings what the door needs"):
        command.Mcp(waiting)()


def test_status_says_what_a_run_waits_for(waiting):
    assert f"waits for an agent to answer 'r1/propose': ludus mcp {waiting}" in ludus("status", waiting)


# --- the protocol ------------------------------------------------------------------------------------------------


def in_memory(directory, work):
    """What `work` returns with a client that is connected to the server in this process."""
    import anyio
    from mcp import Client

    from ludus.views.mcp.server import make_server

    async def run():
        door = Door(directory)
        try:
            async with Client(make_server(door)) as client:
                return await work(client)
        finally:
            door.close()

    return anyio.run(run)


def said(result):
    return " ".join(c.text for c in result.content if c.type == "text")


@needs_mcp
def test_hostile_calls_are_refused(waiting):
    hostile = "\x1b[2J<script>alert(1)</script>"
    calls = [
        ("answer", {"question": "../../etc/passwd", "answer": {}}, "is not open any more"),
        ("answer", {"question": ASKED.key, "answer": {"task": "x" * LONGEST_ANSWER}}, "at most 20,000 are read"),
        ("answer", {"question": ASKED.key, "answer": "no object"}, "answer"),
        ("answer", {"question": f"{hostile}", "answer": {}}, "is not open any more"),
        ("look", {"what": "../ludus.db"}, "unknown skill"),
        ("look", {"what": "question"}, "no question with pictures"),
        ("next_question", {"wait_s": "for ever"}, "wait_s"),
        ("run_command", {"command": "rm"}, "Unknown tool"),
    ]

    async def work(client):
        found = [await client.call_tool(name, arguments) for name, arguments, _ in calls]
        refused = []
        for uri in ("file:///etc/passwd", "ludus://skills/..%2F..%2Fludus.db", "ludus://../ludus.db", "ludus://shards"):
            try:
                await client.read_resource(uri)
            except Exception as error:
                refused.append(str(error))
        return found, refused

    found, refused = in_memory(waiting, work)
    for (name, arguments, why), result in zip(calls, found, strict=True):
        assert result.is_error and why in said(result) and "\x1b" not in said(result), (name, arguments, said(result))
    assert len(refused) == 4 and "Traceback" not in "".join(refused)
    with Record.open(waiting, write=False) as record:
        assert [m.kind for m in record.messages()] == ["question"]


@needs_mcp
@pytest.mark.parametrize("broken", ["no table", "no database", "no file", "a bug"])
def test_no_error_tells_a_path_or_what_a_database_was_asked(waiting, broken, monkeypatch, tmp_path):
    import sqlite3

    async def work(client):
        if broken == "no table":
            with sqlite3.connect(waiting / "ludus.db") as database:
                database.execute("DROP TABLE messages")
        elif broken == "no database":
            (waiting / "ludus.db").rename(tmp_path / "away")
        else:
            error = (
                FileNotFoundError(2, "no such file", str(waiting)) if broken == "no file" else KeyError(str(waiting))
            )
            monkeypatch.setattr(Door, "_open", lambda self: (_ for _ in ()).throw(error))
        calls = [("next_question", {"wait_s": 0}), ("answer", {"question": "q", "answer": {}}), ("status", {})]
        calls += [("look", {}), ("say", {"remark": "hello"})]
        found = [said(await client.call_tool(*call)) for call in calls]
        for uri in ("ludus://status", "ludus://library", "ludus://skills/reach%20red"):
            try:
                await client.read_resource(uri)
            except Exception as refused:
                found.append(str(refused))
        return found

    found = in_memory(waiting, work)
    assert len(found) > 5  # some of the record may still be read
    for text in found:
        assert str(tmp_path) not in text and "SELECT" not in text, text


def test_what_a_run_does_is_told_without_its_places(waiting):
    with Record.open(waiting) as record, Progress(record).stage(f"seed data: 4 episodes of {waiting.parent}/x y/z", 4):
        door = Door(waiting)
        assert "seed data: 4 episodes of" in door.status()["status"] and str(waiting.parent) not in str(door.status())
    assert door.without_paths("'question/r1-s0/propose/5b' is open, see a/b/c or /home/me/x.py: no") == (
        "'question/r1-s0/propose/5b' is open, see a/b/c or (a path): no"
    )
    door.close()


@needs_mcp
def test_nobody_speaks_in_another_name(waiting):
    async def work(client):
        forged = {"question": ASKED.key, "answer": {"task": "lift"}, "author": "person", "sender": "loop"}
        return await client.call_tool("answer", forged)

    result = in_memory(waiting, work)
    assert result.structured_content["state"] == "waiting" and "ludus resume" in said(result)
    with Record.open(waiting, write=False) as record:
        (answer,) = record.messages("answer")
    assert answer.sender == "agent" and answer.payload == {"key": ASKED.key, "answer": {"task": "lift"}}


def test_an_answer_that_the_run_has_not_read_is_not_asked_for_again(waiting):
    door = Door(waiting)
    assert "refused" not in door.question()
    offer = door.answer(ASKED.key, {"task": "lift"})
    assert door.question() is None and door.receipt(offer).state == "waiting"
    with Record.open(waiting) as record:
        RoomMailbox(record, Progress())._refuse(offer, "too heavy")
    assert door.question()["refused"] == "too heavy"
    door.close()


@needs_mcp
def test_what_a_client_is_offered(played):
    async def work(client):
        tools, fixed = (await client.list_tools()).tools, (await client.list_resources()).resources
        asked = await client.call_tool("next_question", {"wait_s": 0})
        seen = await client.call_tool("look", {"what": "reach red"})
        skill = await client.read_resource("ludus://skills/reach%20red")
        library = await client.read_resource("ludus://library")
        return tools, fixed, asked, seen, skill.contents[0].text, library.contents[0].text

    tools, fixed, asked, seen, skill, library = in_memory(played[0], work)
    assert {t.name for t in tools} == {"next_question", "answer", "say", "look", "status"} and all(
        t.description for t in tools
    )
    assert {str(r.uri) for r in fixed} == {"ludus://status", "ludus://library", "ludus://episodes"}
    assert asked.structured_content["question"] is None and "Not finished" in asked.structured_content["status"]
    assert seen.content[0].type == "image" and json.loads(skill)["name"] == "reach red"
    assert json.loads(library)[0]["caption"] == "open the gripper"


@needs_mcp
def test_an_agent_remarks_and_gives_no_command(waiting):
    lines = ["<b>the blue block is out of reach</b>", "/approve wave at red", " \x1b/stop", "x" * 2000]

    async def work(client):
        return [await client.call_tool("say", {"remark": line, "author": "person"}) for line in lines]

    remark, *refused = in_memory(waiting, work)
    assert said(remark) == "said. The run is stopped: it reads this when it goes on, with `ludus resume`"
    assert not remark.is_error and all(r.is_error for r in refused) and "commands are for people" in said(refused[1])
    with Record.open(waiting, write=False) as record:
        messages = [m for m in record.messages() if m.kind != "question"]
    assert [(m.sender, m.kind, m.text) for m in messages] == [("agent", "remark", lines[0])]


@needs_mcp
def test_standard_output_is_the_protocol_alone(waiting):
    """Also where a message is none, or a tool fails."""
    begin = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "person", "version": "1"}}
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        "\x1b[2J no message",
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "next_question", "arguments": {}}},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "look", "arguments": {}}},
    ]
    server = subprocess.Popen(
        [sys.executable, "-m", "ludus.cli", "mcp", str(waiting)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in lines:
        server.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    server.stdin.flush()
    answers = {}
    while 3 not in answers or 2 not in answers:
        found = json.loads(server.stdout.readline())
        answers[found.get("id")] = found
    server.stdin.close()
    assert server.wait(30) == 0 and server.stdout.read() == ""
    assert answers[2]["result"]["structuredContent"]["question"] == ASKED.key
    assert answers[3]["result"]["isError"] and "Traceback" not in server.stderr.read()


# --- over stdio, with the official client ------------------------------------------------------------------------


def over_stdio(directory, player, process, stop_after=None):
    """Plays until the run ends, or for so many answers; returns what was refused."""
    import anyio
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async def play():
        door = StdioServerParameters(
            command=sys.executable, args=["-m", "ludus.cli", "mcp", str(directory)], env=dict(os.environ)
        )
        refused, n = [], 0
        async with stdio_client(door) as (reading, writing), ClientSession(reading, writing) as session:
            await session.initialize()
            while process.poll() is None and n != stop_after:
                question = (await session.call_tool("next_question", {"wait_s": 2})).structured_content
                if question["question"] is None:
                    continue
                if not refused:
                    bad = await session.call_tool("answer", {"question": question["question"], "answer": {"tsk": 1}})
                    refused.append((bad.is_error, said(bad)))
                if question["pictures"]:
                    seen = await session.call_tool("look", {})
                    assert seen.content[0].type == "image"
                answer = {"question": question["question"], "answer": player(question)}
                result = await session.call_tool("answer", answer)
                assert result.structured_content["state"] in ("accepted", "waiting"), said(
                    result
                )  # it is just starting
                n += 1
            return refused

    return anyio.run(play)


@needs_mcp
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_whole_run_over_stdio_is_killed_on_both_sides_and_goes_on(tmp_path, request):
    skill = {"caption": "wave at red", "reward": "near(red)", "success": "near(red)", "why": "it waves"}
    directory, player = tmp_path / "run", Player(skill)
    log = (tmp_path / "log").open("w")

    def started(*arguments):
        line = [sys.executable, "-m", "ludus.cli", *map(str, arguments)]
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        request.addfinalizer(process.kill)
        while not (directory / "ludus.db").exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        time.sleep(1)
        return process

    process = started(*RUN, "--dir", directory)
    ((is_error, why),) = over_stdio(directory, player, process, stop_after=9)
    assert is_error and "The question is still open" in why
    process.kill()
    process.wait()
    process = started("resume", directory)
    over_stdio(directory, player, process)
    assert process.wait(120) == 0, (tmp_path / "log").read_text()

    with Record.open(directory, write=False) as record:
        calls = record.calls()
        assert record.state() == "done" and {c["role"] for c in calls} == set(ROLES)
    assert len(calls) == len({c["key"] for c in calls}) == len(player.asked)  # nothing was asked twice
    ludus(*RUN, "--replay", directory, "--strict", "--dir", tmp_path / "again")
    first, again = content(directory), content(tmp_path / "again")
    assert {c["replayed"] for c in again["calls"]} == {True}
    assert all(again[table] == first[table] for table in ("plans", "episodes", "verdicts", "skills", "evaluations"))
