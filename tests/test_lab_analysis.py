"""Intervals, curves, verdicts in the room, and the rule to stop."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.config import Config
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.lab.analysis import NOTHING_KNOWN, Analysis, Background, add_point, members_of, stop, wilson
from ludus.lab.hindsight import became, calibration, score
from ludus.lab.room import Room
from ludus.record import Evaluation
from ludus.record.record import Record
from ludus.skills.library import SkillLibrary
from ludus.skills.predicates import Vocabulary
from ludus.types import Curve, LudusError, ObservationSpec, SuccessCount, Verdict

NO_WORDS = Vocabulary(ObservationSpec(()), (), ())


@given(st.integers(1, 200), st.data())
def test_wilson_bounds_solve_the_score_equation(n, data):
    successes = data.draw(st.integers(0, n))
    for p in wilson(successes, n):
        assert n * (successes / n - p) ** 2 == pytest.approx(1.96**2 * p * (1 - p), abs=1e-9)


def test_wilson_limits():
    assert wilson(0, 0) == (0, 1)
    assert wilson(0, 5)[0] == 0 and wilson(5, 5)[1] == 1
    for bad in ((-1, 3), (4, 3)):
        with pytest.raises(LudusError, match="successes in 3 trials"):
            wilson(*bad)


def test_points_are_added_once():
    curve = add_point(None, 100, SuccessCount("lift red", "h", 8, 2, 3))
    curve = add_point(curve, 200, SuccessCount("lift red", "h", 8, 5, 6))
    assert curve == Curve("lift red", (100, 200), (2, 5), (8, 8))
    assert add_point(curve, 200, SuccessCount("lift red", "h", 8, 7, 7)) is curve


def test_stop_needs_every_skill_to_be_settled():
    def verdicts(*judgements):
        return [Verdict("x", j, 0.9, "") for j in judgements]

    assert stop(verdicts("converged", "stuck"))
    assert not stop(verdicts("converged", "learning")) and not stop(verdicts("converged", "unclear"))
    assert not stop([])


def test_questions_and_verdicts_are_in_the_room(tmp_path):
    curves = [
        Curve("lift red", (1, 2, 3, 4, 5), (8, 8, 8, 8, 8), (8,) * 5),
        Curve("fly", (1, 2, 3, 4, 5, 6, 7, 8), (0,) * 8, (16,) * 8),
        Curve("new", (), (), ()),
    ]
    plotted = []

    def plot(name, curve):
        plotted.append((name, curve.caption))
        return f"images/{name}.png"

    with Record.create(tmp_path / "run", Config()) as record:
        room = Room(record)
        analysis = Analysis(assemble(RoleContext(NO_WORDS)), room, plot)
        with record.commit("round/1/analyse"):
            judged = analysis.judge(curves)
        assert judged.statistical == judged.verdicts and not judged.disagreements  # the planner asks it
        assert [(v.caption, v.judgement) for v in judged.verdicts] == [
            ("lift red", "converged"),
            ("fly", "stuck"),
            ("new", "unclear"),
        ]
        assert plotted[0] == ("round-1-analyse-curve-0", "lift red")
        assert record.messages("curve")[0].images == ("images/round-1-analyse-curve-0.png",)
        assert "8/8, 8/8" in record.messages("curve")[0].text and "none yet" in record.messages("curve")[2].text
        assert [m.payload["judgement"] for m in record.messages("verdict")] == ["converged", "stuck", "unclear"]
        assert not any("statistical" in m.payload for m in record.messages("verdict"))
        assert record.messages("decision")[0].text == "More training is worth it for 1 of 3 skills: new."
        with record.commit("round/2/analyse"):
            analysis.judge(curves[:2])
        assert record.messages("decision")[-1].payload["stop"] is True


RISING = Curve("rise", (1, 2, 3, 4, 5, 6), (0, 4, 9, 15, 20, 26), (48,) * 6)
FLAT = Curve("fly", tuple(range(1, 11)), (0,) * 10, (16,) * 10)
MASTERED = Curve("lift red", (1, 2, 3, 4, 5), (8,) * 5, (8,) * 5)


@pytest.fixture
def ask(tmp_path):
    """`ask(curves, judgements, background)`: what an analyst who says these leads to, and the record."""

    def ask(curves, judgements, background=NOTHING_KNOWN):
        with Record.create(tmp_path / "run", Config()) as record:

            def analyst(question):
                return Verdict(question.curve.caption, judgements[question.curve.caption], 0.9, "it says so")

            roles = dataclasses.replace(assemble(RoleContext(NO_WORDS)), analyse=analyst)
            with record.commit("round/1/analyse"):
                judged = Analysis(roles, Room(record)).judge(curves, background)
            return judged, record.messages("verdict"), record.messages("decision")[0]

    return ask


def test_the_statistical_judge_stands_beside_another_analyst(ask):
    judged, messages, decision = ask([MASTERED, FLAT], {"lift red": "converged", "fly": "learning"})
    assert [s.judgement for s in judged.statistical] == ["converged", "stuck"]
    assert messages[1].payload["judgement"] == "learning" and messages[1].payload["update"] == 10
    assert messages[1].payload["statistical"]["judgement"] == "stuck" and "stuck" in messages[1].text
    assert not judged.stop and decision.payload["stop"] is False  # the analyst wants to go on


def test_a_stop_is_vetoed_where_the_statistical_judge_sees_learning(ask):
    judged, _, decision = ask([MASTERED, RISING], {"lift red": "converged", "rise": "converged"})
    assert [s.judgement for s in judged.statistical] == ["converged", "learning"]
    assert not judged.stop and decision.payload["stop"] is False and "rise" in decision.text


def test_unclear_statistics_leave_the_stop_to_the_analyst(ask):
    judged, *_ = ask([MASTERED, Curve("new", (1,), (3,), (8,))], {"lift red": "converged", "new": "converged"})
    assert judged.statistical[1].judgement == "unclear" and judged.stop


def test_nothing_is_stuck_before_it_was_practised(ask):
    judged, *_ = ask([FLAT], {"fly": "stuck"}, Background({}, {"lift red": 500}))
    assert judged.statistical[0].judgement == "unclear" and "practised in 0" in judged.statistical[0].why


def test_members_are_the_curves_of_a_template_with_several_skills():
    captions = ("lift red", "lift green", "wait")

    class Library(SkillLibrary):
        def __init__(self):
            pass

        def template(self, caption):
            return "lift X" if caption.startswith("lift") else caption

    evaluations = [Evaluation("curve", u, SuccessCount(c, "h", 8, u, u)) for u in (1, 2) for c in captions]
    found = members_of(evaluations, Library())
    assert found == {"lift X": (Curve("lift red", (1, 2), (1, 2), (8, 8)), Curve("lift green", (1, 2), (1, 2), (8, 8)))}


# --- hindsight -------------------------------------------------------------------------------------------------------

WHOLE = Curve("rise", tuple(range(1, 10)), (0, 4, 9, 20, 30, 40, 46, 47, 48), (48,) * 9)


def test_a_curve_became_what_its_later_points_say():
    assert became(WHOLE, 2) == "learning"
    assert became(Curve("fly", tuple(range(1, 10)), (0,) * 9, (48,) * 9), 3) == "stuck"
    assert became(Curve("ok", tuple(range(1, 10)), (48,) * 9, (48,) * 9), 3) == "converged"
    assert became(WHOLE, 4) == "unclear"  # nothing at 12 yet
    assert became(WHOLE, 7000) == became(Curve("x", (), (), ()), 1) == "unclear"


def test_verdicts_are_scored_where_the_truth_is_clear():
    verdicts = [
        (2, Verdict("rise", "learning", 0.9, "")),
        (2, Verdict("rise", "stuck", 0.8, "")),
        (2, Verdict("rise", "unclear", 0.5, "")),
        (9, Verdict("rise", "converged", 1.0, "")),
        (2, Verdict("no such curve", "stuck", 0.8, "")),
        (3, Verdict("rise", "learning", 1.0, "")),
    ]
    scored = score(verdicts, [WHOLE])
    assert [(s.update, s.verdict.judgement, s.right) for s in scored] == [
        (2, "learning", True),
        (2, "stuck", False),
        (3, "learning", True),
    ]
    assert [(b.low, b.n, b.right) for b in calibration(scored)] == [(0.7, 1, 0), (0.85, 2, 2)]
    assert calibration([]) == []
