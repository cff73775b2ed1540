"""Whole runs with a model behind a socket: what is sent, what a fault leaves behind, what a recording is worth."""

import io
import os
import shutil
import subprocess
import sys
import time

import pytest
from command import ludus
from model_server import Fault, ModelServer, sensible_answers
from quick import quick_library

from ludus.config import ROLES, ExperimenterConfig
from ludus.record import Record

ASKED = set(ROLES) - {"write_skill"}
"""Roles that a run asks; that of the writer is asked in runs that grow."""
# one block: four skills, so a run takes a few seconds
SMALL = [
    *(
        "world.n_blocks=1",
        "world.n_envs=4",
        "seed_data.episodes=4",
        "experimenter.retries=2",
        "experimenter.timeout_s=60",
    ),
    *("training.updates=4", "training.evaluate_every=4", "training.evaluation_episodes=1", "training.round_updates=2"),
    *(
        "experiment.rounds=2",
        "experiment.episodes_per_round=4",
        "experiment.plans_per_round=2",
        "experiment.final_episodes=1",
        "experiment.practice_ratio=0",
    ),
]
ARGUMENTS = ["--library", quick_library(1), *SMALL]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in list(os.environ):
        if name.endswith("_API_KEY"):
            monkeypatch.delenv(name)


def run(directory, server, *more, code=0):
    return ludus(
        "run", *ARGUMENTS, *more, "--preset", "tiny", "--experimenter", server.url, "--dir", directory, code=code
    )


def content(directory, *without):
    """All that two equal runs have in common; addresses of servers differ from test to test."""
    with Record.open(directory, write=False) as record:
        found = record.content()
    del found["runs"]
    for row in found["calls"]:
        del row["model"], row["request"]
    return {k: v for k, v in found.items() if k not in without}


def kept(directory):
    """What no stop may lose: all rows in their order, but messages of a step that is not done, which are said again."""
    with Record.open(directory, write=False) as record:
        found = record.content() | {"calls": record.calls()}
        found["messages"] = [m for m in found["messages"] if m["step"] is None or record.done(m["step"])]
    return found


def answer(request):
    """Tries skills, so that the robots have something to do."""
    said = sensible_answers(request)
    if "task" in said:
        said |= {"task": "reach the red block", "why": "it is there"}
    if "steps" in said:
        said |= {"steps": ["go to red"]}
    if "caption" in said:
        said |= {"caption": "reach red", "missing": None}
    return said


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "run"
    with ModelServer(answer) as server:
        run(directory, server)
    return directory, server


def test_a_model_plays_all_roles_and_sees_pictures(finished):
    directory, server = finished
    with Record.open(directory, write=False) as record:
        calls, plans = record.calls(), record.plans()
        curves = {p.read_bytes() for p in record.path("images").glob("*curve*.png")}
    assert {c["role"] for c in calls} == ASKED and len(calls) == len(server.requests)
    assert [p.captions for _, p in plans] == [("reach red",)] * 4 and plans[0][1].proposal.why == "it is there"
    assert all(c["tokens_in"] > 0 and c["usd"] == 0 and not c["replayed"] for c in calls)
    sent = {image for r in server.requests if "learning curve" in r.text for image in r.images}
    assert curves <= sent and len(curves) > 4  # bit for bit, besides the examples' pictures


@pytest.mark.render
def test_scenes_are_sent_as_pictures(tmp_path):
    with ModelServer(answer) as server:
        run(tmp_path / "run", server)
    with Record.open(tmp_path / "run", write=False) as record:
        scenes = {record.path(i).read_bytes() for m in record.messages("scene") for i in m.images}
    sent = {image for r in server.requests if "Which task" in r.text or "curriculum" in r.text for image in r.images}
    assert len(scenes) == 4 and scenes <= sent


def test_a_strict_replay_asks_nothing_and_is_the_same(finished, tmp_path):
    directory, server = finished
    run(tmp_path / "again", server, "--replay", directory, "--strict")  # the server is gone
    again = content(tmp_path / "again")
    assert [c["replayed"] for c in again["calls"]] == [True] * len(server.requests)
    first = content(directory)
    assert again["steps"].pop(1)["name"] == "replay"
    for row in (*first["calls"], *again["calls"]):
        del row["replayed"]
    assert again == first


def test_a_changed_prompt_makes_a_recording_stale(finished, tmp_path, monkeypatch):
    directory, server = finished
    from dataclasses import replace

    from ludus.experimenter import prompts

    load = prompts.load
    newer = {"decompose": replace(load("decompose"), version=99)}
    monkeypatch.setattr(prompts, "load", lambda name: newer.get(name) or load(name))
    output = ludus("run", "--preset", "tiny", *ARGUMENTS, "--experimenter", server.url, "--replay", directory, "--strict",
                   "--dir", tmp_path / "again", code=2)  # fmt: skip
    assert "r1-s0-a0/decompose' is stale: it was made with prompt 'decompose 1', this is 'decompose 99'" in output
    with Record.open(tmp_path / "again", write=False) as record:
        assert all(c["replayed"] for c in record.calls())


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run that its budget stopped in the middle, when there are episodes, messages and calls to lose; its server."""
    directory = tmp_path_factory.mktemp("half") / "run"
    with ModelServer(answer) as server:
        run(directory, server, "budget.calls=13", code=2)
        assert content(directory)["episodes"] and content(directory)["messages"]
        yield directory, server


HOSTILE = "[red]Ignore[/red] <script>alert(1)</script> $HOME {task}\n# System\nrun\x1b[2J `rm -rf .`"
NO_KEY = "OPENAI_API_KEY is missing, wrong or expired"
FAILING = "kept failing, 2 times"
FAULTS = {
    # kind: name: (what goes wrong from now on, what is said of it)
    "permanent": {
        "wrong key": ([Fault.status(401)], NO_KEY),
        "expired key": ([Fault.status(403, message="The key has expired.")], NO_KEY),
        "unknown model": ([Fault.status(404)], "no such model there"),
        "context too long": ([Fault.status(400, code="context_length_exceeded")], "lower experimenter.exemplars"),
        "too many pictures": (
            [Fault.status(400, message="At most 1 image(s) may be provided in one prompt.")],
            "pictures were sent; lower experimenter.exemplars",
        ),
        "no credit": ([Fault.status(429, code="insufficient_quota")], "quota or credit is used up"),
    },
    "transient": {
        "429": ([Fault.status(429)], FAILING),
        "429 with Retry-After": ([Fault.status(429, retry_after=0.1)], FAILING),
        "500": ([Fault.status(500)], FAILING),
        "dropped": ([Fault.drop()], "see that the server is up"),
        "cut off": ([Fault.cut_body()], FAILING),
        "garbled": ([Fault.malformed_json_body()], FAILING),
        "silent": ([Fault.hang(30)], "raise experimenter.timeout_s"),
        "dripping": ([Fault.slow(30, drip=True)], "raise experimenter.timeout_s"),
    },
    "answers": {  # they stop no run; then a wrong key does
        name: ([fault] * 4 + [Fault.status(401)], NO_KEY)
        for name, fault in {
            "not json": Fault.text("not json"),
            "wrong schema": Fault.text('{"colour": "red"}'),
            "unknown skill": Fault.text('{"caption": "fly", "steps": 3, "judgement": "flying", "probability": 1}'),
            "long": Fault.text("x" * 10_000),
            "empty": Fault.empty(),
            "refusal": Fault.refusal(),
        }.items()
    },
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_stops_a_run_loses_nothing(half, finished, tmp_path, kind):
    """One fault after the other stops the same run; in the end it is as if there had been none."""
    stopped, server = half
    directory = shutil.copytree(stopped, tmp_path / "run")
    for counted in (server.requests, server.charged):
        counted.clear()
    first = len(kept(directory)["calls"])
    for name, (faults, says) in FAULTS[kind].items():
        before = kept(directory)
        server.faults.extend(faults + faults[-1:] * 50)
        impatient = ("experimenter.retries=1", f"experimenter.timeout_s={1 if faults[0].seconds else 60}")
        assert says in ludus("resume", directory, "budget.calls=0", *impatient, code=2), name
        server.faults.clear()
        after = kept(directory)
        assert len(after["calls"]) > len(before["calls"])
        for table, rows in before.items():
            assert after[table][: len(rows)] == rows, (name, table)
    ludus("resume", directory, "budget.calls=0")
    calls = kept(directory)["calls"]
    answered = [c["key"] for c in calls if not c["attempt"]]
    assert len(set(answered)) == len(answered)  # nothing was answered twice
    calls = calls[first:]
    assert sum(c["turns"] + c["retries"] for c in calls) == len(server.requests)  # nothing was sent in secret
    used_in, used_out = (sum(c[key] for c in calls) for key in ("tokens_in", "tokens_out"))
    charged_in, charged_out = map(sum, zip(*server.charged, strict=True))
    lost, rest = divmod(used_out - charged_out, ExperimenterConfig().max_tokens)  # counted as reserved
    assert rest == 0 and (lost > 0) == (used_in > charged_in) == (kind == "transient")
    found, well = content(directory), content(finished[0])
    if kind == "answers":  # some verdicts are unclear now
        assert [e["id"] for e in found["episodes"]] == [e["id"] for e in well["episodes"]]
    else:
        assert found == well


def test_a_server_that_is_gone_loses_nothing(half, finished, tmp_path):
    """Nor does another model in between."""
    stopped, server = half
    directory = shutil.copytree(stopped, tmp_path / "run")
    server.requests.clear()
    with ModelServer(answer) as other:
        roles = [f"experimenter.{role}={other.url}" for role in ROLES]
        other.faults.extend([Fault.nothing(), *[Fault.status(404)] * 50])
        assert "no such model" in ludus("resume", directory, "budget.calls=0", *roles, code=2)
    assert "be reached" in ludus("resume", directory, "budget.calls=0", *roles, "experimenter.retries=1", code=2)
    ludus("resume", directory, "budget.calls=0")
    assert len(server.requests) == len(finished[1].requests) - 13
    with Record.open(directory, write=False) as record:
        mine = [c for c in record.calls() if c["model"] == server.url]
    assert len(mine) == len(finished[1].requests)
    assert content(directory)["plans"] == content(finished[0])["plans"]


def test_instructions_in_answers_stay_text(tmp_path):
    """What a model says is shown, and nothing else."""

    def hostile(request):
        said = answer(request)
        said |= {k: HOSTILE for k in ("task", "why") if k in said}
        if "steps" in said:
            said["steps"] = [HOSTILE]
        return said | ({"caption": "none fits", "missing": HOSTILE} if "caption" in said else {})

    with ModelServer(hostile) as server:
        run(tmp_path / "run", server, "experiment.rounds=1")
    report = (tmp_path / "run" / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in report and "<script" not in report
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    status = ludus("status", tmp_path / "run")
    assert "\x1b" not in report + status
    with Record.open(tmp_path / "run", write=False) as record:
        assert any("[red]Ignore[/red] <script>alert(1)" in m.text for m in record.messages("gap"))
        assert len(record.skills()) == 4  # of the world; none that an answer brought


@pytest.mark.parametrize("in_address", [False, True])
def test_keys_stand_nowhere(tmp_path, monkeypatch, in_address):
    """In no file, whether a run ends well or not, and in nothing that is printed."""
    key = "sk-fake-0123456789abcdef"
    with ModelServer(answer, key=key) as server:
        address = server.url
        if in_address:
            address = address.replace("http://", f"http://me:{key}@")
            said = run(tmp_path / "run", server, *(f"experimenter.{r}={address}" for r in ROLES), code=2)
            assert "leave user, password and query out" in said and key not in said
            assert not list(tmp_path.iterdir()) and not server.requests
            return
        monkeypatch.setenv("OPENAI_API_KEY", key)
        server.faults.extend([Fault.status(401, message=f"Incorrect API key provided: {key}.")] * 9)
        said = run(tmp_path / "run", server, code=2)
        server.faults.clear()
        said += ludus("resume", tmp_path / "run") + ludus("status", tmp_path / "run")
    assert server.requests[-1].headers["authorization"] == f"Bearer {key}"
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert key.encode() not in path.read_bytes(), path
    assert key not in said


def test_what_can_be_known_before_a_run_is(tmp_path, monkeypatch):
    """A wrong key, or a server that is not there, is not found out after the first training."""
    with ModelServer(answer, key="sk-right-0123456789") as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-0123456789")
        assert NO_KEY in run(tmp_path / "run", server, code=2)
        assert not server.requests
    assert "could not be reached" in run(tmp_path / "run", server, code=2)
    with ModelServer(answer) as server:
        server.list = ({"data": [{"id": "m", "input_modalities": ["text"]}]}, 0)
        assert "set experimenter.images=false" in run(tmp_path / "run", server, code=2)
        assert not server.requests
    assert not list(tmp_path.iterdir())


def test_what_was_chosen_is_said_also_on_resuming(half, tmp_path):
    stopped, server = half
    directory = shutil.copytree(stopped, tmp_path / "run")
    chosen = f"{server.url} answers by experimenter.structure=native"
    assert chosen in ludus("resume", directory, code=2)  # then the budget is used up
    server.list, asked = ([], 30), len(server.requests)
    try:
        said = ludus("resume", directory, "budget.calls=0", "experimenter.timeout_s=0.3", code=2)
    finally:
        server.list = None
    assert (
        "could not be reached: no list of its models in experimenter.timeout_s=0.3" in said
        and len(server.requests) == asked
    )


def test_a_budget_stops_in_time_and_can_be_raised(finished, tmp_path, monkeypatch):
    n = len(finished[1].requests)
    with ModelServer(answer) as server:
        output = run(tmp_path / "run", server, f"budget.calls={n - 6}", code=2)
        assert f"budget.calls={n - 6} is used up" in output and len(server.requests) == n - 6
        assert "is used up" in ludus("resume", tmp_path / "run", code=2) and len(server.requests) == n - 6
        assert "would make another run" in ludus("resume", tmp_path / "run", "training.updates=9", code=2)
        ludus("resume", tmp_path / "run", "budget.calls=1000")
        assert len(server.requests) == n
    assert content(tmp_path / "run") == content(finished[0])
    monkeypatch.setattr("ludus.experimenter.model.is_local", lambda address: False)
    assert "price of" in run(tmp_path / "dear", server, "budget.usd=1", code=2)
    assert not (tmp_path / "dear").exists()


def test_a_training_on_its_own_can_have_more_or_another_analyst(finished, tmp_path):
    def train(directory, *more, code=0):
        small = ("training.updates=8", "training.evaluate_every=4", "training.early_stop=false")
        asks = (f"experimenter.analyse={server.url}", *more, "--preset", "tiny", "--data", finished[0])
        return ludus("train", directory, *SMALL, *small, *asks, code=code)

    with ModelServer(answer) as server:
        train(tmp_path / "whole")
        n = len(server.requests)
        assert "is used up" in train(tmp_path / "more", f"budget.calls={n - 1}", code=2)
        assert "is used up" in ludus("resume", tmp_path / "more", code=2) and len(server.requests) == 2 * n - 1
        ludus("resume", tmp_path / "more", "budget.calls=1000")
        assert len(server.requests) == 2 * n  # only what was not asked yet
        assert content(tmp_path / "more") == content(tmp_path / "whole")
        train(tmp_path / "other", f"budget.calls={n - 1}", code=2)
        assert "reach X" in ludus("resume", tmp_path / "other", "experimenter.analyse=planner")
        assert len(server.requests) == 3 * n - 1
        output = ludus("resume", tmp_path / "other", "training.updates=9", code=2)
        assert "would make another run" in output and f"--init {tmp_path / 'other'}" in output


@pytest.mark.parametrize(
    "blocks", [pytest.param(1, id="one block"), pytest.param(3, id="three blocks", marks=pytest.mark.slow)]
)
def test_nonsense_breaks_nothing(tmp_path, blocks):
    """A tiny model with random weights plays all roles, its answers constrained to their JSON schemas."""
    tiny_vlm = pytest.importorskip("tiny_vlm")
    more = ["--library", quick_library(blocks), f"world.n_blocks={blocks}", f"experiment.plans_per_round={1 + blocks}"]
    with ModelServer(tiny_vlm.TinyVLM(seed=3).answer) as server:
        run(tmp_path / "run", server, *more)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    with Record.open(tmp_path / "run", write=False) as record:
        calls, plans = record.calls(), [plan for _, plan in record.plans()]
        assert record.done("measure/after") and len(record.content()["episodes"]) == 4 + 2 * 4
        known = {s["caption"] for s in record.skills()}
    assert {c["role"] for c in calls} == ASKED and all(c["answer"] and c["turns"] == 1 for c in calls)
    assert len([p for p in plans if not p.gaps]) == 2 * (1 + blocks) and {c for p in plans for c in p.captions} <= known
    run(tmp_path / "again", server, *more, "--replay", tmp_path / "run", "--strict")  # the server is gone
    first, again = content(tmp_path / "run"), content(tmp_path / "again")
    assert again["steps"].pop(1)["name"] == "replay" and all(c.pop("replayed") for c in again["calls"])
    assert not any(c.pop("replayed") for c in first["calls"]) and again == first


def test_how_slow_a_model_is_changes_nothing(finished, tmp_path):
    with ModelServer(answer, latency=0.4) as server:
        run(tmp_path / "run", server)
    assert content(tmp_path / "run") == content(finished[0])


def test_asked_two_rounds_ahead_killed_and_replayed(tmp_path):
    """What is known when a round is asked for is the same however slow the model is and wherever the run was cut: the
    replay answers at once and is not cut."""
    arguments = ["run", *ARGUMENTS, "experiment.rounds=4", "experimenter.prefetch=2", "--preset", "tiny"]
    with ModelServer(answer, latency=0.3) as server:
        arguments += ["--experimenter", server.url]
        command = [sys.executable, "-m", "ludus.cli", *arguments, "--dir", str(tmp_path / "run")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        # 2 rounds x 2 scenes x 3 questions, and one of the third round
        while sum("learning curve" not in r.text for r in server.requests) < 13 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        time.sleep(0.5)  # what was sent, the server reads
        with Record.open(tmp_path / "run", write=False) as record:
            answered, asked = len(record.calls()), len(server.requests)
            assert record.done("round/3/ahead") and not record.done("round/2/plan")
        ludus("resume", tmp_path / "run")
        whole = content(tmp_path / "run")
        assert len(server.requests) - asked == len(whole["calls"]) - answered  # only what had no answer yet
    with Record.open(tmp_path / "run", write=False) as record:
        known = [record.result(f"round/{n}/ahead")["history"] for n in (1, 2, 3, 4)]
        started = {s.name: s.started for s in record.steps()}
    assert [{a["round"] for a in history} for history in known] == [set(), set(), set(), {1}]
    assert started["round/4/ahead"] < started["round/2/collect/000"]

    ludus(*arguments, "--replay", tmp_path / "run", "--strict", "--dir", tmp_path / "again")
    again = content(tmp_path / "again")
    assert again["steps"].pop(1)["name"] == "replay"
    for row in (*whole["calls"], *again["calls"]):
        del row["replayed"]
    assert again == whole


def test_a_person_at_the_terminal(tmp_path, monkeypatch):
    arguments = ("run", *ARGUMENTS, "--preset", "tiny", "--experimenter", "human", "--dir", tmp_path / "run")
    monkeypatch.setattr(sys, "stdin", io.StringIO("touch red\n0.7\nreach it\nreach red\n"))
    assert "nobody answers at the terminal" in ludus(*arguments, code=2)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n" * 1000))  # can't tell, can't tell, ...
    ludus("resume", tmp_path / "run")
    with Record.open(tmp_path / "run", write=False) as record:
        plans = [p for _, p in record.plans()]
        asked = [m for m in record.messages("question") if m.addressee == "human"]
    assert plans[0].proposal.task == "touch red" and plans[0].captions == ("reach red",)
    assert all(p.proposal.why == "no proposal could be executed" for p in plans[1:]) and len(plans) == 4
    assert len(asked) > 8
    assert "reach red" in ludus("eval", tmp_path / "run", "--skills", "reach red", "-n", 1)  # nobody is asked
    again = ("run", *ARGUMENTS, "--preset", "tiny", "--experimenter", "human", "--dir", tmp_path / "again")
    ludus(*again, "--replay", tmp_path / "run", "--strict")  # what was said stands in the chat again
    with Record.open(tmp_path / "again", write=False) as record:
        assert [m for m in record.messages("question") if m.addressee == "human"] == asked


def test_a_person_and_a_model_share_the_roles(tmp_path, monkeypatch):
    """A person is asked one question at a time, where they sit."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("stuck\n" * 1000))
    with ModelServer(answer) as server:
        run(tmp_path / "judge", server, "experimenter.analyse=human")
        with Record.open(tmp_path / "judge", write=False) as record:
            assert {v.judgement for _, _, v in record.verdicts()} == {"stuck"}
            assert {c["role"] for c in record.calls() if c["model"] == "human"} == {"analyse"}
        monkeypatch.setattr(sys, "stdin", io.StringIO("reach red\n" * 1000))
        run(tmp_path / "retriever", server, "experimenter.retrieve=human")
        with Record.open(tmp_path / "retriever", write=False) as record:
            said = [c["key"] for c in record.calls() if c["model"] == "human"]
        assert len(said) == 4 and said == sorted(said)
