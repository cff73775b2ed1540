"""The verdict rule against curves whose future is known."""

from collections import Counter

import numpy as np
import pytest

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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("points", "n"), [(6, 8), (10, 16), (12, 32)])
def test_few_wrong_verdicts_and_fewer_with_more_data(shape, points, n):
    rate, truth = SHAPES[shape]
    draw = rng(0, "curves", shape, points)
    table = Counter(curves.judge(sample(rate, points, n, draw)).judgement for _ in range(60))
    wrong = 60 - table[truth] - table["unclear"]
    assert wrong <= (15 if n == 8 else 6), table
    if n == 32:
        assert table[truth] >= 30, table


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


def test_stated_probabilities_match_the_share_of_right_verdicts():
    draw, stated, right = rng(0, "calibration"), [], []
    for _ in range(300):
        low = draw.uniform(0, 0.3)
        high = draw.uniform(low, 1) if draw.random() < 0.7 else low
        delay = draw.uniform(0, 0.8) if draw.random() < 0.5 else 0.0
        tau = np.exp(draw.uniform(np.log(0.05), np.log(1.5)))

        def rate(u, low=low, high=high, delay=delay, tau=tau):
            return low + (high - low) * (1 - np.exp(-np.maximum(u - delay, 0) / tau))

        now, later = rate(np.array([1.0, curves.HORIZON]))
        truth = "learning" if later - now >= curves.WORTHWHILE else "converged" if now >= curves.USEFUL else "stuck"
        verdict = curves.judge(sample(rate, int(draw.integers(4, 13)), int(draw.choice([8, 16, 32])), draw))
        if verdict.judgement != "unclear":
            stated.append(verdict.probability)
            right.append(verdict.judgement == truth)
    assert len(right) > 150
    assert abs(np.mean(stated) - np.mean(right)) < 0.12
    assert np.mean((np.array(stated) - right) ** 2) < 0.15


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
