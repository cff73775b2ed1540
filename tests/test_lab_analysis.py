"""Intervals, curves, verdicts in the room, and the rule to stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.config import Config
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.lab.analysis import Analysis, add_point, stop, wilson
from ludus.lab.room import Room
from ludus.record.record import Record
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
            verdicts = analysis.judge(curves)
        assert [(v.caption, v.judgement) for v in verdicts] == [
            ("lift red", "converged"),
            ("fly", "stuck"),
            ("new", "unclear"),
        ]
        assert plotted[0] == ("round-1-analyse-curve-0", "lift red")
        assert record.messages("curve")[0].images == ("images/round-1-analyse-curve-0.png",)
        assert "8/8, 8/8" in record.messages("curve")[0].text and "none yet" in record.messages("curve")[2].text
        assert [m.payload["judgement"] for m in record.messages("verdict")] == ["converged", "stuck", "unclear"]
        assert record.messages("decision")[0].text == "Training goes on for 1 of 3 skills: new."
        with record.commit("round/2/analyse"):
            analysis.judge(curves[:2])
        assert record.messages("decision")[-1].payload["stop"] is True
