"""The page of `ludus serve` for who watches a run: what it does now, several beside each other, what can be decided, clips."""

import json
import time
from dataclasses import asdict, replace

import pytest
from counting_world import CountingWorld
from test_page import episode, place_of
from test_views import CALL, HOSTILE, make

from ludus.config import Config, override
from ludus.data.store import EpisodeStore
from ludus.lab.oversight import say
from ludus.record import Progress, Record, StageState
from ludus.types import LudusError, Message, Outcome, Plan, Proposal, Retrieval
from ludus.views import charts, queries, text
from ludus.views.page import content, film, present, runs

ASKED = CALL | {"key": "r1-s0-a0/propose", "role": "propose", "model": "m", "answer": {}, "replayed": False}

PLAN = Plan("r2-s0-a0", Proposal(HOSTILE, "why", 0.5), ("a",), (Retrieval("a", "go to home"),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, and one with another setting and hostile texts that is in its second round."""
    folder = tmp_path_factory.mktemp("runs")
    make(folder / "done")
    world, _ = make(folder / "going", HOSTILE, finished=False)
    with Record.open(folder / "going") as record:
        with record.commit("round/1/outcomes"):
            pass
        with record.commit("round/1/settle") as opened:
            opened.result = {"tried": "round/1/train/001", "best": "round/1/train/001", "gate": None, "skills": []}
        with record.commit("round/2/plan"):
            record.add_plan(2, PLAN)
            record.post(Message("plan", "curriculum", "embodiment", "plan", HOSTILE, payload=asdict(PLAN)))
        with record.commit("round/2/practice/000"):
            EpisodeStore(record).append([episode(world, f"e{i}") for i in range(10, 15)])
            record.add_outcomes(Outcome(f"e{i}", 0, "go to home", "h", i % 2 > 0, True, i / 20) for i in range(10, 15))
            record.add_metrics([("time/updates_per_s", 30, 12.5), ("time/training_s", 30, 0.0)])
        record.add_call(
            CALL
            | {"key": "r1-s0-a0/propose", "role": "propose", "model": "m", "answer": {}, "usd": None, "replayed": False}
        )
        record.write_stage(stage("round 2: training", 25, 100))
    with Record.create(folder / "other", override(Config(), ["budget.tokens=500", "world.n_blocks=4"])) as record:
        record.add_call(
            CALL | {"key": "k", "role": "propose", "model": "m", "answer": {}, "usd": 0.5, "replayed": False}
        )
    return folder


def stage(name, done, total):
    now = time.time()
    return StageState(name, done, total, now - 50, now, None)


@pytest.fixture
def place(folder, monkeypatch):
    return place_of(folder, monkeypatch)


# --- now ---------------------------------------------------------------------------------------------------------


def test_now_says_what_the_record_knows_and_nothing_else(place):
    with place.open("going") as record:
        now = queries.now(record)
    assert json.loads(json.dumps(asdict(now)))
    (work,) = now.works
    assert (work.done, work.total, work.unit, work.per_s) == (25, 100, "update", pytest.approx(0.5))
    assert (
        work.left_s is None and now.rounds_left == Config().experiment.rounds - 1
    )  # nothing is under way: it is stopped
    assert now.throughput.updates == 12.5 and now.throughput.phase == "round/2/practice"
    assert now.throughput.episodes > 0 and now.throughput.control_steps == pytest.approx(20 * now.throughput.episodes)
    assert [(p.id, p.state) for p in now.plans] == [("r2-s0-a0", "waiting")] and now.round == 2
    assert (now.calls, now.unpriced, now.last_call) == (1, 1, 0.0)
    with place.open("other") as record:
        now = queries.now(record)
    assert (
        now.throughput == queries.Throughput(None, None, None, None) and now.utilisation is None and now.left_s is None
    )
    assert {s.what: s.limit for s in now.budget} == {"calls": None, "tokens": 500, "usd": None, "minutes": None}
    page = present.gauges(place, "other")
    assert page.count("not known") == 5 and "Nothing is under way" in page


def test_time_left_is_told_of_a_run_that_goes_on(tmp_path):
    with (
        Record.create(tmp_path / "run", Config()) as record,
        Progress(record).stage("round 1: training", 100) as advance,
    ):
        record.write_stage(stage("round 1: training", 25, 100))
        (work,) = queries.now(record).works
        assert work.left_s == pytest.approx(150, rel=0.05) and advance
    assert [text.duration(s) for s in (40, 61, 3600, 11_100)] == ["40 s", "1 min", "1 h 0 min", "3 h 5 min"]


def test_now_shows_the_latest_episodes_and_the_plans_that_wait(place):
    page = (
        content.head(place, "going", "now") + content.body(place, "going", "now", {}) + present.gauges(place, "going")
    )
    assert page.count('class="tile"') == 5 and "id=e14" in page and "waiting" in page and "25 of 100 updates" in page
    assert "<script" not in page and "\x1b" not in page
    world = CountingWorld()
    many = [episode(world, f"m{i}") for i in range(5)]
    assert film.mosaic(many, world)[:2] == b"\xff\xd8"  # JPEG: a sketch, where nothing can be drawn


# --- runs beside each other --------------------------------------------------------------------------------------


def test_runs_are_compared_by_settings_and_curves(place):
    page = runs.compare(place, ["going", "done", "other", "done"])
    assert page.count('class="chart"') == 1 and page.count('<g class="c') == 3
    assert (
        "<code>world.n_blocks</code>" in page and "<td>4</td>" in page and f"<td>{Config().world.n_blocks}</td>" in page
    )
    assert "done: 0.03 of 40 at update 20" in page or "done: 0.05 of 40 at update 20" in page
    assert "<script" not in page
    for wrong, why in (
        (["done"], "1 runs were chosen"),
        (["done", "../x"], "unknown run"),
        (list("abcdefg"), "choose 2"),
    ):
        with pytest.raises(LudusError, match=why):
            runs.compare(place, wrong)
    assert 'action="/compare"' in runs.index(place, {})


def test_a_curve_that_a_run_lacks_is_left_out(place):
    with place.open("done") as record:
        curves = queries.learning_curves(record, place.library(record))
    of, *_ = queries.together([queries.LearningCurves((), (), ()), curves])
    drawn = charts.compared_curves(of, ["none", HOSTILE], 20)
    assert of.curves[0] is None and "none: not evaluated yet" in drawn and "<script" not in drawn


# --- what can be decided -----------------------------------------------------------------------------------------


def test_buttons_stand_beside_what_is_still_open_for_operators_only(place):
    with place.open("going") as record:
        postings = queries.postings(record)
        shown = {role: content.messages(place, record, "going", postings, role) for role in (True, False)}
    assert 'data-say="/veto r2-s0-a0"' in shown[True] and "<button" not in shown[False]
    assert "<script" not in shown[True]
    assert 'data-say="/stop"' in content.orders(place, "going")


def test_a_vetoed_plan_and_an_old_verdict_are_closed(tmp_path):
    make(tmp_path / "run", finished=False)
    with Record.open(tmp_path / "run") as record:
        still = queries.still_open(record)
        assert json.loads(json.dumps(asdict(still))) and still.verdicts == (("go to X", "round/1/train/001"),)
        verdict = queries.Posting(1, 0.0, "round/1/train/001", "a", "b", "verdict", "", (), subject="go to X")
        old = queries.Posting(1, 0.0, "round/1/train/000", "a", "b", "verdict", "", (), subject="go to X")
        assert still.decisions(verdict) == (("wrong", "go to X"),) and still.decisions(old) == ()
        assert not still.plans  # they were executed
        with record.commit("round/2/plan"):
            record.add_plan(2, PLAN)
        assert queries.still_open(record).plans == ("r2-s0-a0",)
        told = {"command": "veto", "argument": "r2-s0-a0", "author": "Ada", "outcome": "done", "effect": "It is."}
        with record.commit("oversight/000") as opened:
            opened.result = told | {"before": "round/2/collect/000", "key": "k"}
        assert queries.still_open(record).plans == () and [p.state for p in queries.now(record).plans] == ["vetoed"]


def test_the_box_says_what_oversight_says(place, folder):
    pytest.importorskip("nicegui")
    from ludus.views.page.speech import spoken

    assert spoken({"line": "hello", "name": " Ada "}) == ("hello", "Ada")
    assert [spoken(x) for x in (None, [1], {"line": None}, {"name": 3})] == [("", "person")] * 3 + [("", "3")]
    with place.open("going") as record:
        for forged in ("loop", "Experimenter", "all", "x" * 41, "\x1b[31m"):
            with pytest.raises(LudusError, match="nobody who speaks"):
                say(record, *spoken({"line": "/pause", "name": forged}))
        say(record, *spoken({"line": f"try this {HOSTILE}", "name": "Ada"}))
    page = content.body(place, "going", "room", {"sender": "Ada"})
    assert "try this" in page and "<script" not in page and "\x1b" not in page


# --- clips -------------------------------------------------------------------------------------------------------


def test_a_passport_has_the_best_and_the_worst_episode(place):
    with place.open("going") as record:
        best, worst = queries.best_and_worst(record, ["go to home"])
    assert (best.episode, best.success, worst.episode, worst.success) == ("e13", True, "e10", False)
    assert (best.first, best.last, best.reward) == (0, 20, 0.65)
    page = content.body(place, "going", "skills", {"skill": "go to home"})
    assert page.count('class="card clip"') == 2 and "film?id=e13&amp;first=0&amp;last=20" in page


# --- for who hears the page, or reads it on a phone ------------------------------------------------------------------


def test_steps_are_told_in_words():
    said = {
        "round/1/collect/000": "Round 1: collect",
        "round/12/practice": "Round 12: practice",
        "rounds: collect": "Rounds: collect",
        "pretrain/train/001": "Pretrain: train",
        "seed-data": "Seed data",
        "": "",
    }
    assert {name: text.step(name) for name in said} == said


def test_what_is_drawn_is_also_said(place):
    page = content.body(place, "going", "learning", {})
    numbers = page.partition("The numbers")[2].partition("</details>")[0]
    assert "<td>go to X</td>" in numbers and '<td class="n">20</td>' in numbers and "] of 40" in numbers
    assert "The numbers" in runs.compare(place, ["going", "done"])
    one = content.body(place, "going", "episodes", {"id": "e13"})
    assert "go to home: reward " in one and " of the time" in one
    episodes = content.body(place, "going", "episodes", {})
    assert 'aria-label="succeeded"' in episodes and 'data-label="for">Round 2: practice' in episodes


def test_a_curve_of_one_point_is_seen(place):
    with place.open("done") as record:
        (curve,) = queries.learning_curves(record, place.library(record)).curves
    one, two = (replace(curve, points=curve.points[:1] * n) for n in (1, 2))
    assert 'class="only"' in charts.learning_curve(one, (), 20)
    assert 'class="only"' not in charts.learning_curve(two, (), 20)


def test_new_messages_are_announced_in_a_sentence(place):
    with place.open("going") as record:
        found = queries.postings(record)
    assert content.news(found[-1:]).startswith(f"1 new message; the last by {found[-1].sender}: ")
    said = content.news(found)
    assert said.startswith(f"{len(found)} new messages") and "\x1b" not in said and len(said) < 250
