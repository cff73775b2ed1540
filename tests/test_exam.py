"""The exam: its truth follows the stated rules, its scores mean what they say."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import ludus
from misbehaviours import UNUSABLE
from model_server import Fault, ModelServer, sensible_answers

from ludus import cli
from ludus.config import ExperimenterConfig
from ludus.exam import draw, questions, scorecard
from ludus.exam.metrics import Balanced, Examiner, Rate, bins, brier, calibration_error
from ludus.exam.parts import three_way_brier
from ludus.exam.questions import CurveItem, truth
from ludus.exam.simulator import Rollout, Simulator, at_end
from ludus.exam.write import balanced_accuracy, correlation, jaccard, judged, ways
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.experimenter.curves import USEFUL, WORTHWHILE
from ludus.experimenter.roles import Experimenter, NoAnswer
from ludus.lab.analysis import wilson
from ludus.lab.context import facts
from ludus.lab.hindsight import rise
from ludus.skills.candidate import Candidate
from ludus.skills.expression import parse
from ludus.skills.names import ObjectNames
from ludus.types import Curve, LudusError, Proposal, Retrieval, Verdict

QUESTIONS = questions.load()
MADE_UP = tuple(  # of the marks, not of learning: the shipped curves are recorded ones
    CurveItem("test", Curve("x", (1, 2, 3), s, (16, 16, 16)), now, later)
    for s, now, later in [
        ((1, 2, 3), (3, 48), (40, 48)),
        ((2, 6, 8), (24, 48), (46, 48)),
        ((14, 16, 16), (48, 48), (48, 48)),
        ((15, 16, 15), (94, 96), (95, 96)),
        ((0, 0, 0), (0, 48), (0, 48)),
    ]
)
SMALL = replace(
    QUESTIONS,
    propose=tuple(p for p in QUESTIONS.propose if p.scene.n_blocks == 2)[:4],
    decompose=tuple(d for d in QUESTIONS.decompose if d.scene.n_blocks == 2)[:6],
    retrieve=tuple(r for r in QUESTIONS.retrieve if r.n_blocks == 3)[::4],
    analyse=MADE_UP,
    write=tuple(w for w in QUESTIONS.write if w.world == "blocks-2")[:4],
)


def evaluate(make, *parts, **kwargs):
    question_set = kwargs.pop("question_set", SMALL)
    exam = scorecard.ExamSpec(parts, **{"threads": 1} | kwargs)
    return {r.part: r for r in scorecard.evaluate(make, exam, question_set=question_set)}


def variant(name):
    return lambda vocabulary: assemble(RoleContext(vocabulary, 0, ExperimenterConfig(name, name, name, name)))


def rate(result, name):
    return next(r for r in result.rates if r.name == name)


def number(question):
    return int(question.key.rsplit("/", 1)[1])


def knows(question_set):
    """Answers every question rightly."""

    def propose(question):
        card = next(c for c in question.skills if c.caption.startswith("hover"))
        return Proposal(card.caption, "", 0.9, card.success)

    def retrieve(question):
        captions = question_set.retrieve[number(question)].captions
        return Retrieval(question.step, captions[0] if captions else None, None if captions else "nothing")

    def analyse(question):
        return Verdict("x", question_set.analyse[number(question)].truth, 1.0, "")

    more = {"write_skill": lambda q: question_set.write[number(q)].reference}
    return Experimenter(propose, lambda q: question_set.decompose[number(q)].reference, retrieve, analyse, more)


def says(judgement, probability=0.8):
    return lambda _: replace(knows(SMALL), analyse=lambda q: Verdict("x", judgement, probability, ""))


# --- scores ------------------------------------------------------------------------------------------------------


def test_who_knows_everything_gets_everything():
    results = evaluate(lambda _: knows(SMALL))
    for part in ("decompose", "retrieve", "analyse", "write"):
        assert results[part].rates[0].value == 1, results[part].answers
    assert rate(results["propose"], "sound").value == 1
    assert {m.name: m.value for m in results["analyse"].means} == {
        "Brier score of three judgements": 0,
        "expected calibration error": 0,
    }


def test_who_always_says_converged_stops_too_early():
    result = evaluate(says("converged"), "analyse")["analyse"]
    assert rate(result, "premature stops, of those still learning").value == 1
    assert rate(result, "late stops, of those converged or stuck").right == 0
    assert rate(result, "right").right == 2


def test_who_always_says_learning_stops_too_late():
    result = evaluate(says("learning"), "analyse")["analyse"]
    assert rate(result, "premature stops, of those still learning").right == 0
    assert rate(result, "late stops, of those converged or stuck").value == 1


@pytest.mark.parametrize("judgement", ["learning", "converged", "stuck"])
def test_always_the_same_judgement_gets_a_third(judgement):
    score = evaluate(says(judgement), "analyse")["analyse"].rates[0]
    assert score.value == pytest.approx(1 / 3) and score.interval[0] < 1 / 3 < score.interval[1]
    asked_one = Balanced.over("x", [Rate("a", 1, 2), Rate("b", 0, 0)])  # a class without questions counts nothing
    assert (asked_one.value, asked_one.n) == (0.5, 2) and asked_one.interval == pytest.approx(Rate("a", 1, 2).interval)
    assert Balanced.over("x", []).value is None


def test_why_the_last_question_got_no_answer_is_said_and_other_settings_help(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with ModelServer(sensible_answers) as server:
        exam = ("exam", server.url, "--parts", "retrieve", "--limit", 2, "--no-pictures", "--dir", tmp_path)
        server.misbehave = lambda request: UNUSABLE["cut by max_tokens"]
        said = ludus(*exam)
        assert "2 of 2 questions got no answer; the last: no usable answer of" in said
        assert "experimenter.max_tokens=1500; raise it" in said and "answers by experimenter.structure=native" in said
        server.misbehave = lambda request: Fault.nothing()
        assert "got no answer" not in ludus(*exam, "experimenter.max_tokens=3000") and len(server.requests) == 4
        ludus(*exam, "experimenter.max_tokens=3000", "experimenter.retries=1")
        assert len(server.requests) == 4


def test_each_part_has_its_own_time(tmp_path):
    parts = ("retrieve", "analyse", "write")
    said = ludus("exam", "random", "--parts", *parts, "--limit", 1, "--no-pictures", "--dir", tmp_path)
    assert re.findall(r"(\w+) \(\d+ s\)", said) == list(parts)  # over before the next begins


def test_what_is_written_is_judged_by_what_it_does():
    item = next(w for w in QUESTIONS.write if (w.world, w.kind) == ("blocks-2", "stack"))

    def marks(**changed):
        roles = replace(knows(SMALL), more={"write_skill": lambda q: replace(item.reference, **changed)})
        (row,) = evaluate(lambda _: roles, "write", question_set=replace(SMALL, write=(item,)))["write"].answers
        return row["passes"], row["agrees"], row["usable"]

    assert marks() == (True, True, True)
    others = ObjectNames(("red", "green")).substitute(item.reference.success, {"red": "green", "green": "red"})
    assert marks(success=others)[1] is False
    assert marks(reward="1")[0] is False and marks(reward="1")[2] is False
    assert marks(success="1 <") == marks(success="0.5") == marks(reward="import os") == (False, False, False)


def test_who_writes_nothing_or_nonsense_gets_nothing():
    def silent(question):
        raise NoAnswer("could not tell")

    for answer in (silent, lambda q: Candidate("", "", "", 1), lambda q: Candidate("x", "((", "on(red)", -5, "?")):
        result = evaluate(lambda _, a=answer: replace(knows(SMALL), more={"write_skill": a}), "write")["write"]
        assert result.rates[0].right == 0 and result.rates[0].n == 4
    assert rate(evaluate(lambda _: replace(knows(SMALL), more={}), "write")["write"], "no answer").value == 1


def test_agreement_and_correlation_have_known_values():
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)
    assert (jaccard(a, b), jaccard(a, a), jaccard(~a & a, b & ~b)) == (0.5, 1, 1)
    assert balanced_accuracy(a, b) == pytest.approx((1 + 2 / 3) / 2) and balanced_accuracy(a, a) == 1
    rising, way = np.arange(9.0), [slice(0, 4), slice(4, 9)]
    assert correlation(rising**3, rising, way) == pytest.approx(1) and correlation(
        -rising, rising, way
    ) == pytest.approx(-1)
    assert correlation(np.ones(9), rising, way) == 0 and correlation(rising, rising, []) == 0


def test_unclear_is_neither_right_nor_a_stop_and_costs_what_ignorance_costs():
    result = evaluate(says("unclear"), "analyse")["analyse"]
    assert rate(result, "right").right == 0 and rate(result, "right, of those judged").n == 0
    assert rate(result, "premature stops, of those still learning").right == 0
    assert result.means[0].value == pytest.approx(1 / 3) == pytest.approx(three_way_brier(1 / 3, True))
    assert three_way_brier(1, True) == 0 and three_way_brier(1, False) == 1


def test_a_wrong_skill_is_told_from_the_right_one_about_other_objects():
    other = {"stack red on green": "stack green on red"}
    item = questions.RetrieveItem("exact", 3, "base", "stack red on green", ("stack red on green",))

    def answers(caption):
        roles = replace(knows(SMALL), retrieve=lambda q: Retrieval(q.step, caption))
        result = evaluate(lambda _: roles, "retrieve", question_set=replace(SMALL, retrieve=(item,)))["retrieve"]
        return result.answers[0]["match"]

    assert answers("stack red on green") == "right"
    assert answers(other["stack red on green"]) == "other objects"
    assert answers("lift red") == answers("no such skill") == "other skill"
    assert answers(None) == "none fits"


def test_what_holds_already_or_cannot_be_done_is_no_sound_proposal():
    item = next(p for p in QUESTIONS.propose if p.scene.n_blocks == 2 and p.scene.start == "stacked")
    upper = next(f for f in item.scene.facts if f.startswith("on("))

    def judged(task, goal):
        roles = replace(knows(SMALL), propose=lambda q: Proposal(task, "", 0.5, goal))
        return evaluate(lambda _: roles, "propose", question_set=replace(SMALL, propose=(item,)))["propose"].answers[0]

    assert not judged("keep it so", upper)["open"]
    assert not judged("fly to the moon", None)["executable"]
    assert not judged("fly to the moon", "moon(red)")["open"] and not judged("be", "1 < 2")["open"]
    lift = judged("lift red", None)
    assert lift["executable"] and lift["open"] and len(lift["outcomes"]) == 4


def test_what_was_tried_before_is_not_new():
    item = next(p for p in QUESTIONS.propose if p.history and p.scene.n_blocks == 2)
    text, goal, _ = item.history[0]
    for task, g in ((text.upper(), None), ("in other words", goal)):
        roles = replace(knows(SMALL), propose=lambda q, task=task, g=g: Proposal(task, "", 0.5, g))
        assert not evaluate(lambda _, r=roles: r, "propose", question_set=replace(SMALL, propose=(item,)))[
            "propose"
        ].answers[0]["new"]


def test_the_same_scorecard_twice():
    stats = [list(evaluate(variant("random"), limit=2, seed=3).values()) for _ in range(2)]
    assert stats[0] == stats[1]
    assert json.loads(json.dumps(scorecard.as_json("random", 3, 2, stats[0])))["bank"] == scorecard.fingerprint()


def test_stated_probabilities_are_scored():
    sure = [(0.9, True)] * 9 + [(0.9, False)]
    assert calibration_error(sure) == pytest.approx(0) and brier(sure) == pytest.approx(0.09)
    assert calibration_error([(1.0, False), (0.0, True)]) == 1 and calibration_error([]) is None
    assert bins([(1.0, True), (0.95, False)]) == [(0.975, 0.5, 2)]


# --- who cannot answer -------------------------------------------------------------------------------------------


def test_an_error_is_a_wrong_answer_and_many_in_a_row_are_the_end():
    def fails(question):
        raise LudusError("out of words")

    asks = Examiner(lambda: None)
    assert asks(fails, "?") == (None, "out of words") and asks(str, 1) == ("1", None)
    with pytest.raises(LudusError, match="in a row got no answer; the last: out of words"):
        [asks(fails, "?") for _ in range(5)]


def test_a_malformed_verdict_is_no_answer():
    calls = iter([Verdict("x", "perhaps", 0.5, ""), Verdict("x", "stuck", 7, ""), *[Verdict("x", "stuck", 1, "")] * 3])
    roles = replace(knows(SMALL), analyse=lambda q: next(calls))
    result = evaluate(lambda _: roles, "analyse")["analyse"]
    assert rate(result, "no answer").right == 2 and rate(result, "right").right == 1


def test_an_unknown_examinee_is_named():
    with pytest.raises(LudusError, match="unknown experimenter 'plannner'; nearest: 'planner'"):
        cli.Exam("plannner", parts=(("retrieve",),), pictures=False)()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"limit": 0}, "limit=0 makes no sense; give at least 1"),
        ({"parts": ("read",)}, "unknown part of the exam 'read'"),
    ],
)
def test_bad_input(kwargs, message):
    with pytest.raises(LudusError, match=message):
        scorecard.ExamSpec(**kwargs)


# --- the question set ----------------------------------------------------------------------------------------------------


def test_truth_is_what_came_later():
    assert truth((3, 48), (40, 48)) == "learning"
    assert truth((48, 48), (48, 48)) == "converged"
    assert truth((0, 48), (0, 48)) == "stuck"
    assert truth((24, 48), (28, 48)) == truth((2, 4), (4, 4)) == "unclear"
    assert truth((9, 48), (9, 480)) == "unclear"  # no rise, but is it useful?
    low, high = rise((24, 48), (46, 48))
    assert WORTHWHILE < low < 22 / 48 < high


def test_every_curve_of_the_question_set_has_a_truth_by_the_rule():
    for item in QUESTIONS.analyse:
        least, most = rise(item.now, item.later)
        low, high = wilson(*item.now, z=1.645)
        expected = "learning" if least >= WORTHWHILE else "converged" if low >= USEFUL else "stuck"
        assert item.truth == expected and (expected == "learning" or most < WORTHWHILE)
        assert expected != "stuck" or high < USEFUL
        assert len(item.curve.updates) >= 3 and all(
            s <= n for s, n in zip(item.curve.successes, item.curve.n, strict=True)
        )
        assert item.curve.successes[-1] <= item.now[0] and item.curve.n[-1] <= item.now[1]


def test_the_question_set_asks_enough():
    assert len(QUESTIONS.retrieve) >= 120 and len(QUESTIONS.propose) >= 80 and len(QUESTIONS.decompose) >= 80
    assert {s.n_blocks for s in QUESTIONS.scenes} == {2, 3, 4, 5} and {s.start for s in QUESTIONS.scenes} >= {
        "held",
        "stacked",
    }
    for item in QUESTIONS.retrieve:
        known = {s.caption for s in questions.skills(item.n_blocks, item.library)}
        assert set(item.captions) <= known and bool(item.captions) == (item.kind != "none")
    assert len(QUESTIONS.write) >= 40 and len({w.world for w in QUESTIONS.write}) == 6
    assert 0.4 < sum(w.shown for w in QUESTIONS.write) / len(QUESTIONS.write) < 0.6
    folder = questions.FOLDER
    size = sum(len(p.read_bytes()) for f in (folder, folder / "pictures") for p in f.iterdir() if p.is_file())
    assert size < 1_000_000


def test_every_reference_passes_and_was_reached():
    for item in QUESTIONS.write:
        row = judged(item, item.reference)
        assert row["passes"] and row["agrees"] and row["usable"], (item.world, item.kind, row)
        assert len(ways(item)) >= 3 and item.reference.caption not in item.skills
        question = item.question("k")
        assert question.scene.facts and (question.goal is not None) == item.shown
        assert parse(item.goal, item.stored.vocabulary).type == "bool"


def test_the_question_set_is_of_the_world_as_it_is():
    """Facts and references were recorded; a world that has changed needs a new question set."""
    simulator = Simulator(3, n_envs=4, threads=1)
    items = [d for d in QUESTIONS.decompose if d.scene.n_blocks == 3][::6][:4]
    seen = simulator.look([(d.scene.start, d.scene.seed) for d in items])
    assert [tuple(f) for f in facts(simulator.vocabulary, seen)] == [d.scene.facts for d in items]
    ends = simulator.run([Rollout(d.reference, d.scene.start, d.scene.seed) for d in items])
    assert all(at_end(simulator.condition(d.goal), e) for d, e in zip(items, ends, strict=True))
    simulator.close()


# --- what is written ---------------------------------------------------------------------------------------------


def test_questions_name_pictures_that_are_there(tmp_path):
    named = []

    def notes(question):
        images = question.images if hasattr(question, "images") else question.scene.images
        named.extend(images)
        return question

    knowing = knows(SMALL)
    roles = Experimenter(
        *(lambda q, f=f: f(notes(q)) for f in (knowing.propose, knowing.decompose, knowing.retrieve, knowing.analyse))
    )
    results = list(evaluate(lambda _: roles, folder=tmp_path, limit=2).values())
    assert len(named) == 8 and all((tmp_path / name).stat().st_size > 1000 for name in named)
    assert draw.scorecard_picture("x", results).startswith(b"\x89PNG")
    assert scorecard.table(results).row_count > 20


def test_curve_questions_are_first_thirds_of_recorded_curves():
    path = Path(__file__).parent.parent / "benchmarks" / "exam_bank.py"
    spec = importlib.util.spec_from_file_location("exam_bank", path)
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    recorded = [(100 * k, 5 * k, 96) for k in range(1, 16)]
    rows = list(builder._questions("run", "stack X on Y", recorded))
    assert {row["updates"][-1] for row in rows} == {300, 400, 500} and {max(row["n"]) for row in rows} == {4, 8, 16, 96}
    for row in rows:
        end = row["updates"][-1] // 100
        around = [k for k in range(1, 16) if abs(k - 3 * end) <= 3 * end / 8]
        assert row["now"] == [5 * end, 96] and row["later"] == [5 * sum(around), 96 * len(around)]
        for u, s, n in zip(row["updates"], row["successes"], row["n"], strict=True):
            assert s <= 5 * u // 100 and n - s <= 96 - 5 * u // 100 and (n < 96 or s == 5 * u // 100)
    assert rows == list(builder._questions("run", "stack X on Y", recorded))
    assert not list(builder._questions("run", "stack X on Y", recorded[:8]))  # nothing is known of three times 300


def test_the_command_writes_what_was_asked_for(tmp_path, capsys):
    cli.Exam("planner", parts=(("retrieve",),), limit=3, dir=tmp_path, json=tmp_path / "x.json", pictures=False)()
    assert "ludus exam: planner" in capsys.readouterr().out
    assert json.loads((tmp_path / "x.json").read_text())["parts"]["retrieve"]["rates"]["right"]["n"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scorecard.png", "x.json"]
