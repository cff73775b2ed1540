"""The verdict rule against curves whose future is known."""

from collections import Counter

import numpy as np
import pytest

from ludus.exam.metrics import calibration_error
from ludus.exam.questions import load
from ludus.experimenter import curves
from ludus.seeding import rng
from ludus.types import Curve

SHAPES = {  # success rate as a function of the training so far, which is 1
    "mastered": (lambda u: 0.95 * (1 - np.exp(-u / 0.1)), "converged"),
    "high from the start": (lambda u: 0.97 + 0 * u, "converged"),
    "plateau": (lambda u: 0.55 * (1 - np.exp(-u / 0.15)), "converged"),
    "rising": (lambda u: 0.1 + 0.3 * u, "learning"),
    "late start": (lambda u: 0.9 * (1 - np.exp(-np.maximum(u - 0.6, 0) / 0.5)), "learning"),
    "never": (lambda u: 0.02 + 0 * u, "stuck"),
    "hardly ever": (lambda u: 0.08 + 0 * u, "stuck"),
}


def sample(rate, points, n, draw):
    u = np.arange(1, points + 1) / points
    successes = draw.binomial(n, np.clip(rate(u), 0, 1))
    return Curve("x", tuple(int(1000 * t) for t in u), tuple(map(int, successes)), (n,) * points)


def judgements(shape, points, n, times=60):
    draw = rng(0, "curves", shape, points)
    return Counter(curves.judge(sample(SHAPES[shape][0], points, n, draw)).judgement for _ in range(times))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("points", "n"), [(6, 8), (10, 16), (12, 32)])
def test_no_training_is_stopped_that_was_worth_its_while(shape, points, n):
    truth, table = SHAPES[shape][1], judgements(shape, points, n)
    wrong_stops = table["converged"] + table["stuck"] - table[truth] * (truth != "learning")
    assert wrong_stops <= 1, table
    if shape in ("mastered", "high from the start", "rising", "late start"):
        assert table[truth] >= 48, table


@pytest.mark.parametrize("shape", ["plateau", "never", "hardly ever"])
def test_what_does_not_change_is_settled_once_it_has_lasted(shape):
    """In published trainings four of five plateaus of a few points rose in the end, so a short one is 'unclear' or 'learning'."""
    truth, table = SHAPES[shape][1], judgements(shape, 40, 32, 20)
    assert table[truth] >= 10 and table[truth] + table["unclear"] == 20, table


def test_a_mastered_skill_is_recognised_from_eight_episodes_per_point():
    assert curves.judge(Curve("x", (800, 1600, 2400, 3200), (8, 8, 8, 8), (8,) * 4)).judgement == "converged"


def test_a_flat_start_is_not_stuck_until_it_has_lasted():
    def flat(points):
        return Curve("x", tuple(range(100, 100 * points + 1, 100)), (0,) * points, (16,) * points)

    assert curves.judge(flat(3)).judgement == "unclear" and curves.judge(flat(8)).judgement == "stuck"
    chances = [curves.forecast(flat(n)).learning for n in (3, 6, 12, 24)]
    assert chances == sorted(chances, reverse=True)


def test_episodes_of_one_point_say_less_the_more_there_are():
    few, many = (Curve("x", (100, 200, 300, 400), (n // 2,) * 4, (n,) * 4) for n in (200, 2000))
    assert curves.forecast(many).learning > 0.5 * curves.forecast(few).learning


def shown(successes, n=16):
    return Curve("x", tuple(range(100, 100 * len(successes) + 1, 100)), tuple(successes), (n,) * len(successes))


@pytest.mark.parametrize(
    ("what", "successes"),
    [
        ("a fall", (4, 10, 15, 16, 16, 7)),
        ("a fall at the very end of a long plateau", (16, 16, 15, 16, 16, 16, 16, 15, 16, 4)),
        ("success shown and lost", (0, 0, 4, 9, 0, 1, 0)),
        ("success shown twice and lost", (0, 3, 0, 5, 0, 0)),
        ("a short plateau from which others rose", (0, 2, 6, 8, 8, 7, 8, 8)),
        ("one high point", (0, 0, 1, 0, 15)),
    ],
)
def test_no_stop(what, successes):
    assert curves.judge(shown(successes)).judgement in ("learning", "unclear"), what


def test_one_low_point_among_many_delays_a_stop_until_the_next():
    high = (16, 16, 15, 16, 16, 16, 15)
    assert curves.judge(shown((*high, 8))).judgement == "unclear"
    assert curves.judge(shown((*high, 8, 16, 16))).judgement == "converged"


def test_denser_evaluation_of_the_same_training_is_no_reason_to_stop():
    """A slow rise seen at 6 or at 40 points, with noise that all episodes of a point share."""
    for points in (6, 12, 40):
        draw, stops = rng(0, "dense", points), 0
        for _ in range(20):
            p = np.clip(0.15 + 0.25 * np.arange(1, points + 1) / points, 0.01, 0.99)
            p = draw.beta(p * (1 / 0.2 - 1), (1 - p) * (1 / 0.2 - 1))
            stops += curves.judge(shown(draw.binomial(16, p).tolist())).judgement in ("converged", "stuck")
        assert stops <= 1


def test_stated_probabilities_hold_on_trainings_that_nothing_was_fitted_to():
    """The exam's curves are this project's own trainings; the judge was fitted to other robots and learners."""
    items = load().analyse
    verdicts = [curves.judge(item.curve) for item in items]
    stated = [
        (v.probability, v.judgement == i.truth)
        for v, i in zip(verdicts, items, strict=True)
        if v.judgement != "unclear"
    ]
    assert len(stated) > 200 and calibration_error(stated) < 0.12
    assert sum(right for _, right in stated) / len(items) > 0.7
    stops = [
        v.judgement in ("converged", "stuck") for v, i in zip(verdicts, items, strict=True) if i.truth == "learning"
    ]
    assert sum(stops) / len(stops) < 0.03


# --- members ---------------------------------------------------------------------------------------------------------


def family(*members):
    successes, n = (
        tuple(map(sum, zip(*columns, strict=True)))
        for columns in ([m.successes for m in members], [m.n for m in members])
    )
    pooled = Curve("stack X on Y", members[0].updates, successes, n)
    return pooled, members


def member(name, *successes, n=8):
    return Curve(name, tuple(range(100, 100 * len(successes) + 1, 100)), successes, (n,) * len(successes))


def test_a_member_that_has_not_begun_is_not_hidden_by_the_others():
    good = [member(f"stack {i}", 5, 8, 8, 8, 8, 8, 8) for i in range(9)]
    pooled, members = family(*good, member("stack red on blue", 0, 0, 0, 0, 0, 0, 0))
    assert curves.judge(pooled).judgement == "converged"  # .9 on average
    verdict = curves.judge_family(pooled, members)
    assert verdict.judgement in ("learning", "unclear") and "stack red on blue" in verdict.why
    assert curves.weak_members(pooled, members) == (members[-1],)
    rising = member("stack red on blue", 0, 0, 0, 1, 1, 2, 4)
    verdict = curves.judge_family(*family(*good, rising))
    assert verdict.judgement == "learning" and "stack red on blue" in verdict.why


def test_members_that_are_as_good_as_the_mean_change_nothing():
    pooled, members = family(*[member(f"stack {i}", 5, 8, 7, 8, 8, 7, 8) for i in range(6)])
    assert curves.judge_family(pooled, members) == curves.judge_family(pooled) == curves.judge(pooled)


def test_a_family_with_a_member_that_works_is_not_stuck():
    never = [member(f"stack {i}", *[0] * 12) for i in range(11)]
    pooled, members = family(*never, member("stack red on blue", *[8] * 12))
    assert curves.judge_family(pooled, members).judgement != "stuck"


def test_stuck_needs_practice():
    flat = shown([0] * 10)
    assert curves.judge_family(flat).judgement == "stuck"
    few = curves.judge_family(flat, practised=curves.LEAST_PRACTICE - 1)
    assert few.judgement == "unclear" and f"{curves.LEAST_PRACTICE}" in few.why
    assert curves.judge_family(flat, practised=curves.LEAST_PRACTICE).judgement == "stuck"


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "curve",
    [
        Curve("x", (), (), ()),
        Curve("x", (100,), (0,), (8,)),
        Curve("x", (100, 200), (8, 8), (8, 8)),
        Curve("x", (100, 200, 300), (0, 0, 0), (0, 0, 0)),
        Curve("x", (100, 200, 300, 400), (1, 4, 1, 4), (8, 8, 8, 8)),
    ],
)
def test_too_little_to_tell(curve):
    verdict = curves.judge(curve)
    assert verdict.judgement == "unclear" and 0 <= verdict.probability <= 1 and verdict.why


def test_forecast_is_a_distribution():
    f = curves.forecast(Curve("x", (10, 20, 30), (1, 3, 6), (8, 8, 8)))
    assert f.converged + f.learning + f.stuck == pytest.approx(1)
    assert 0 < f.now <= f.later < 1
