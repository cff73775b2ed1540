"""The first line about a run: honest about every way in which one comes to nothing, and the same wherever a run is shown."""

import io
import re
from html import unescape

import pytest
from counting_world import CountingWorld
from rich.console import Console

from ludus.config import Config
from ludus.lab.curriculum import PRACTISE
from ludus.record import Record
from ludus.skills.library import Skill
from ludus.skills.names import ObjectNames
from ludus.types import Message, Plan, Proposal, Retrieval, SuccessCount
from ludus.views import queries, text
from ludus.views.page import content, runs
from ludus.views.page.place import Place
from ludus.views.report import write_report
from ludus.views.terminal import print_runs, print_status

NOTHING = "nothing new was learned: no skill got measurably better and none was added."


def fabricate(directory, gaps=0, executed=0, successes=0, answers=(), before=1, after=18, end="done", early=False):
    """A run of one round: tasks that lacked a skill, tasks that 16 robots tried with so many successes each, calls that were
    answered or not, how often one skill succeeded in 20 episodes before and after, and whether Anna said /stop."""
    library = CountingWorld().library()
    with Record.create(directory, Config(), command="ludus run") as record:
        with record.commit("begin"):
            record.add_skills(library)
        with record.commit("measure/before"):
            record.add_evaluation("before", 10, [SuccessCount("go to home", "h", 20, before, before)])
        for k, answered in enumerate(answers):
            row = {"key": f"k{k}", "sample": 0, "attempt": 0, "role": "propose", "prompt": "propose 1", "request": "r"}
            row |= {"images": [], "model": "vlm-1", "answer": {"task": "x"} if answered else None, "error": None}
            row |= {"replayed": False, "turns": 1, "tokens_in": 9, "tokens_out": 1, "usd": None, "retries": 0}
            record.add_call(row | {"seconds": 1.0, "at": 0.0})
        with record.commit("round/1/plan"):
            record.post(Message("s", "curriculum", "experimenter", "scene", "", payload={"objects": ["home", "shop"]}))
            for k in range(gaps):
                record.add_plan(1, Plan(f"g{k}", Proposal("fly", "", 0.5), ("fly",), (Retrieval("fly", None, "fly"),)))
            done = [(f"p{k}", "visit shop", "new") for k in range(executed)]
            for id, task, why in [*done, ("r1-s0-practise", "go to home", PRACTISE)]:
                record.add_plan(1, Plan(id, Proposal(task, why, 0.5), (task,), (Retrieval(task, "go to home"),)))
        with record.commit("round/1/outcomes"):
            for id, n in [(f"p{k}", successes) for k in range(executed)] + [("r1-s0-practise", 16)]:
                payload = {"plan": id, "n": 16, "successes": n}
                record.post(Message(id, "embodiment", "all", "outcome", f"{n} of 16", payload=payload))
        if early:
            with record.commit("oversight/000") as opened:
                said = {"key": "said/1", "command": "stop", "argument": "", "author": "Anna", "before": "round/1/plan"}
                opened.result = said | {"outcome": "done", "effect": "Stops after round 1."}
        if end == "done":
            with record.commit("measure/after"):
                record.add_evaluation("after", 20, [SuccessCount("go to home", "h", 20, after, after)])
        elif end != "stopped":
            record.post(Message("end", "learner", "all", "failed", end))


BETTER = "Better after the rounds: go to X (0.05 → 0.90)."
CASES = {
    "learned": ({"executed": 2, "successes": 9}, f"Finished. {BETTER}", "done", "good"),
    "early": (
        {"executed": 2, "successes": 9, "early": True},
        f"Finished early, since Anna said /stop. {BETTER}",
        "done",
        "good",
    ),
    "nothing": (
        {"executed": 2, "successes": 9, "after": 1},
        f"Finished, but {NOTHING}",
        "done: nothing learned",
        "warn",
    ),
    "all-failed": (
        {"executed": 3, "gaps": 1},
        f"Finished, but every proposal failed: 4 tasks, and no robot succeeded in 48 tries. {BETTER}",
        "done: every proposal failed",
        "bad",
    ),
    "gaps": (
        {"gaps": 3, "after": 1},
        f"Finished, but no proposal could be carried out: 3 tasks, and each lacked a skill. N{NOTHING[1:]}",
        "done: no task executable",
        "bad",
    ),
    "silent": (
        {"after": 1},
        f"Finished, but no task was proposed in 1 round. N{NOTHING[1:]}",
        "done: no task proposed",
        "bad",
    ),
    "unanswered": (
        {"answers": (False, False), "after": 1},
        f"Finished, but the model never answered: no usable answer of vlm-1 in 2 calls. N{NOTHING[1:]}",
        "done: the model never answered",
        "bad",
    ),
    "stopped": (
        {"executed": 1, "answers": (True, False), "end": "stopped"},
        "Not finished: stopped after step round/1/outcomes. Every proposal failed: 1 task, and no robot succeeded in 16 tries.",
        "stopped: every proposal failed",
        "bad",
    ),
    "failed": (
        {"executed": 2, "successes": 9, "end": "diverged at update 4; lower it"},
        "Failed: diverged at update 4; lower it.",
        "failed",
        "bad",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, (what, *_) in CASES.items():
        fabricate(folder / name, **what)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_every_place_says_the_same_first(folder, name, monkeypatch):
    _, said, short, tone = CASES[name]
    with Record.open(folder / name, write=False) as record:
        found = queries.conclusion(record)
        assert (text.first_line(found), text.state(found), found.tone) == (said, short, tone)
        console = Console(file=io.StringIO(), width=500)
        print_status(record, console)
        world = CountingWorld()
        page = write_report(record, world, world.library()).read_text()
    assert console.file.getvalue().startswith(f"{folder / name}: {said}\n")
    banner = re.search(r'<h1>.*</h1>\n<div class="banner (\w+)"><p class="first">(.*)</p>', page)
    assert (banner[1], unescape(re.sub("</?b>", "", banner[2])).rstrip()) == (tone, said)
    monkeypatch.setattr("ludus.views.page.lines.SOON_S", 60.0)  # all are listed, however busy the machine is
    place = Place(folder)
    head = content.head(place, name, "room")
    assert said in unescape(head) and f'class="state {found.status.state} {tone}"' in head
    assert said in unescape(runs.index(place, {}))


def test_a_table_of_runs_says_it_in_short(folder):
    console = Console(file=io.StringIO(), width=200)
    print_runs(queries.runs(folder), console, folder)
    lines = {line.split()[0]: line.rstrip() for line in console.file.getvalue().splitlines() if line}
    assert all(lines[name].endswith(short) for name, (_, _, short, _) in CASES.items())


def test_what_was_accepted_counts_while_a_run_is_under_way(tmp_path):
    fabricate(tmp_path / "run", executed=1, successes=1, end="stopped")
    with Record.open(tmp_path / "run") as record:
        with record.commit("round/2/grow"):
            for caption, status in (("mark home", "accepted"), ("mark shop", "accepted"), ("visit home", "practising")):
                record.add_skills([Skill(caption, "at(home)", "at(home)", 5, base=False)], round=2)
                record.set_skill_status(caption, status, 2)
        said = text.first_line(queries.conclusion(record))
    assert said.endswith("Skills accepted so far: mark X. Added but not accepted: visit X.")


def test_a_command_and_a_remark_stand_with_what_they_did(tmp_path):
    fabricate(tmp_path / "run", executed=1, successes=1)
    world = CountingWorld()
    with Record.open(tmp_path / "run") as record:
        record.post(
            Message("a", "person", "experimenter", "remark", "<b>try blue</b>"),
            Message(
                "b",
                "anna",
                "loop",
                "command",
                "/veto visit shop",
                payload={"command": "veto", "argument": "visit shop"},
            ),
            Message("c", "loop", "all", "effect", "'visit shop' is not proposed any more.", payload={"command": "b"}),
            Message("d", "person", "loop", "command", "/stop", payload={"command": "stop", "argument": ""}),
        )
        with record.commit("round/2/plan"):
            record.post(
                Message("g", "curriculum", "experimenter", "guidance", "", payload={"remarks": ["<b>try blue</b>"]})
            )
        remark, veto, stop = queries.interventions(record)
        page = write_report(record, world, world.library()).read_text()
    assert remark.effects == ("Shown to the experimenter with the questions of round 2.",)
    assert (veto.author, veto.effects, stop.effects) == ("anna", ("'visit shop' is not proposed any more.",), ())
    section = page.partition("<h2>What people said, and what it did</h2>")[2].partition("</section>")[0]
    assert "&lt;b&gt;try blue" in section and "→ no effect" in section and "/veto visit shop" in section
    assert "People said something 3 times" in page


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("arrange red on green and blue lifted", "red on green, then lift blue"),
        (
            "arrange red beside green and blue on both red and green",
            "red beside green, then blue on both red and green",
        ),
        ("at once: arrange green on red and blue on green", "at once: green on red and blue on green"),
        ("stack red on green and leave", "stack red on green and leave"),
    ],
)
def test_tasks_of_the_planner_are_said_in_plain_words(task, said):
    assert queries.in_words(task, ObjectNames(("red", "green", "blue"))) == said
    assert queries.in_words(task, ObjectNames(())) == task
