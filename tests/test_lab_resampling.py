"""Intervals and tests of few runs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ludus.lab.resampling import TESTS, bootstrap, estimate, iqm, least_p, mean, permutation_test, sign_test

FEW = st.integers(1, 8)
NUMBERS = st.floats(-100, 100, width=32).map(float)
scores = FEW.flatmap(lambda n: arrays(float, n, elements=NUMBERS))
tables = st.tuples(st.integers(2, 6), FEW).flatmap(lambda shape: arrays(float, shape, elements=NUMBERS))
NEAR = {"rel": 1e-9, "abs": 1e-9}


@pytest.mark.parametrize(
    ("given_scores", "found"),
    [([3], 3), ([1, 5], 3), ([0, 1, 8], 3), ([0, 1, 2, 90], 1.5), ([9, 0, 5, 6, 7, 4, 1, 8], 5.5)],
)
def test_the_iqm_is_the_mean_of_the_middle_half(given_scores, found):
    assert iqm(np.array(given_scores, float)) == pytest.approx(found)


@given(scores)
def test_the_iqm_is_a_mean_that_no_order_changes(values):
    assert values.min() - 1e-9 <= iqm(values) <= values.max() + 1e-9
    assert iqm(values[::-1]) == pytest.approx(iqm(values), **NEAR)


@given(st.integers(2, 9), st.integers(1, 4), NUMBERS)
def test_the_interval_of_identical_runs_is_their_value(n, m, value):
    for statistic in (mean, iqm):
        assert bootstrap(np.full((n, m), value), statistic) == pytest.approx((value, value), **NEAR)


@settings(deadline=None, max_examples=40)
@given(tables, st.randoms())
def test_an_interval_lies_between_the_extremes_and_no_order_of_runs_changes_it(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    for statistic in (mean, iqm):
        low, high = bootstrap(table, statistic)
        assert table.min() - 1e-6 <= low <= high <= table.max() + 1e-6
        assert bootstrap(table[order], statistic) == pytest.approx((low, high), **NEAR)


def test_a_single_run_has_no_interval():
    assert bootstrap(np.array([0.5])) is None
    assert estimate(np.array([[0.25, 0.75]]), mean).value == 0.5


@pytest.mark.parametrize("n", [5, 20])
def test_the_interval_of_a_mean_covers_about_as_often_as_a_bootstrap_of_so_few_does(n):
    """Of normal runs: some .84 of 5, some .93 of 20 (Student's t would have .95)."""
    draw, hits = np.random.default_rng(0), 0
    for _ in range(200):
        low, high = bootstrap(draw.normal(size=n))
        hits += low <= 0 <= high
    assert {5: 0.76, 20: 0.87}[n] < hits / 200 < {5: 0.9, 20: 0.98}[n]


def test_runs_are_drawn_with_all_of_their_skills():
    """Skills that rise and fall together say no more than one of them."""
    one = np.array([0.1, 0.4, 0.9])
    assert bootstrap(np.repeat(one[:, None], 12, 1)) == pytest.approx(bootstrap(one))


# --- tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "permutation", "sign"),
    [
        ([1.0], 1.0, 1.0),
        ([1.0, 2.0, 3.0], 0.25, 0.25),
        ([1.0, 2.0, -3.0], 1.0, 1.0),
        ([0.0, 0.0], 1.0, 1.0),
        ([1.0, 1.0, 1.0, 1.0, 1.0, -0.5], 0.0625, 14 / 64),
    ],
)
def test_p_of_hand_counted_cases(differences, permutation, sign):
    assert permutation_test(np.array(differences)) == pytest.approx(permutation)
    assert sign_test(np.array(differences)) == pytest.approx(sign)


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS.keys())
@given(values=scores, random=st.randoms())
def test_p_is_of_the_differences_alone_whichever_arm_is_first(test, values, random):
    p, shuffled = test(values), list(values)
    random.shuffle(shuffled)
    assert least_p(len(values)) - 1e-12 <= p <= 1
    assert test(-values) == pytest.approx(p)
    assert test(np.array(shuffled)) == pytest.approx(p)
    assert test(8 * values) == pytest.approx(p)


def test_many_pairs_are_tested_by_as_many_signs_as_are_drawn():
    draw = np.random.default_rng(1)
    same, other = draw.normal(size=40), draw.normal(1.0, size=40)
    assert permutation_test(same) > 0.05 > permutation_test(other) > 0
    assert not math.isnan(permutation_test(np.zeros(30)))


def test_p_is_no_smaller_than_it_should_be_where_there_is_no_difference():
    draw = np.random.default_rng(2)
    found = [permutation_test(draw.normal(size=6)) for _ in range(300)]
    assert np.mean(np.array(found) <= 0.1) < 0.15
