"""The gate and the acceptance of a skill: laws, cases that are known, and error rates of small simulations."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.lab.acceptance import AcceptanceSettings, accept
from ludus.lab.betting import BETS, discount, factors, interval, log_e
from ludus.lab.gate import GateSettings, PairedCount, allot, decide, first_look, spread
from ludus.seeding import rng
from ludus.types import LudusError, SuccessCount

BASE = {"open": 8, "reach": 24, "stack": 48}
DEFAULT = GateSettings()


@st.composite
def paired(draw, family="a", most=60):
    n = draw(st.integers(1, most))
    both = draw(st.integers(0, n))
    old = draw(st.integers(0, n - both))
    return PairedCount(family, n, both, old, draw(st.integers(0, n - both - old)))


counts = st.lists(st.sampled_from("abc").flatmap(paired), min_size=1, max_size=8)


def wins(family, n, old=0, new=0):
    return PairedCount(family, n, n - old - new, old, new)


def base(looks, **changed):
    return [changed.get(f, wins(f, n)) for f, n in BASE.items()] * looks


def successes(*rows):
    return [SuccessCount(f"m{i}", "", n, k, k) for i, (k, n) in enumerate(rows)]


# --- laws --------------------------------------------------------------------------------------------------------


@given(counts, st.randoms(), st.integers(1, 4))
@settings(deadline=None)
def test_the_order_of_looks_and_families_does_not_matter(given_counts, random, look):
    shuffled = list(given_counts)
    random.shuffle(shuffled)
    one, other = decide(given_counts, {given_counts[0].family}, look), decide(shuffled, {given_counts[0].family}, look)
    assert (one.promote, one.open, [f.verdict for f in one.families]) == (
        other.promote,
        other.open,
        [f.verdict for f in other.families],
    )
    assert one.gain == pytest.approx(other.gain)


@given(paired(), st.integers(2, 5))
@settings(deadline=None)
def test_looks_add_up(count, k):
    """Independent episodes say the same whether they come in one look or in several."""
    independent = GateSettings(alike=0)
    n, both, old, new = (k * x for x in (count.n, count.both, count.only_old, count.only_new))
    apart = decide([count] * k, {"a"}, 1, independent).families[0]
    at_once = decide([PairedCount("a", n, both, old, new)], {"a"}, 1, independent).families[0]
    for field in ("n", "difference", "interval", "gain", "loss", "hold"):
        assert getattr(apart, field) == pytest.approx(getattr(at_once, field), abs=1e-9)


@given(counts)
@settings(deadline=None)
def test_exchanging_the_policies_exchanges_gain_and_loss(given_counts):
    there = decide(given_counts, {"a", "b", "c"} & {c.family for c in given_counts}, 1)
    back = decide([c.mirrored for c in given_counts], set(), 1)
    for one, other in zip(there.families, back.families, strict=True):
        assert one.difference == -other.difference
        assert one.interval == (-other.interval[1], -other.interval[0])
        assert one.loss == pytest.approx(other.gain, abs=1e-9)


@given(paired(), st.floats(0.01, 0.9), st.floats(0.0, 0.05))
@settings(deadline=None)
def test_one_more_success_of_the_new_policy_never_speaks_against_it(count, harm, least):
    if count.both + count.only_old + count.only_new == count.n:
        return
    own = GateSettings(tolerance=0, harmful_loss=harm, least_gain=least)
    before = decide([count], {"a"}, 1, own).families[0]
    after = decide([replace(count, only_new=count.only_new + 1)], {"a"}, 1, own).families[0]
    assert after.gain >= before.gain and after.loss <= before.loss and after.hold >= before.hold
    assert after.interval[0] >= before.interval[0] and after.interval[1] >= before.interval[1]


@given(st.floats(-0.95, 0.95), st.floats(0, 1), st.floats(0, 1))
def test_no_bet_is_expected_to_win_where_the_claim_is_false(margin, tie, below):
    """Values -1, 0, 1 with a mean of at most the margin."""
    mean = -(1 - tie) + below * (min(margin, 1 - tie) + (1 - tie)) if margin > -(1 - tie) else None
    if mean is None:
        return
    chance = np.array([(1 - tie - mean) / 2, tie, (1 - tie + mean) / 2])
    assert (chance @ np.exp(factors(margin, -1)) <= 1 + 1e-9).all()


def test_the_confidence_sequence_covers_the_observed_difference_and_shrinks():
    widths = []
    for n in (8, 24, 96, 384):
        low, high = interval(n, n // 8, n // 4)
        assert low < n // 4 / n - n // 8 / n < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert interval(0, 0, 0) == (-1, 1)


# --- cases -------------------------------------------------------------------------------------------------------


def test_evidence_of_a_look_is_the_mean_wealth_of_the_bets():
    found = decide([wins("a", 10, 1, 4)], set(), 1).families[0]
    m, wealth = DEFAULT.least_gain, []
    for t in BETS:
        win, even, lose = (1 + t * (x - m) / (1 + m) for x in (1, 0, -1))
        wealth.append((win**4 * even**5 * lose) ** (1 / 1.27))  # 1 + 9 * .03
    assert found.gain == pytest.approx(math.log(sum(wealth) / len(wealth)))
    assert discount(10, 0.03) == pytest.approx(1.27) and discount(0, 0.03) == 1


def test_a_new_skill_is_promoted_as_soon_as_the_old_ones_have_held():
    new = wins("beside", 48, 0, 24)
    first = decide([*base(1), new], set(BASE), 1)
    assert first.promote is None and "open" in first.open and "stack" not in first.open
    # the families that had held get no more episodes
    later = [*base(1), new, wins("open", 24), wins("reach", 72), wins("beside", 144, 0, 70)]
    assert decide(later, set(BASE), 2).open == ("open",)
    decision = decide([*later, wins("open", 24)], set(BASE), 3)
    assert decision.promote and "beside" in decision.reason
    verdicts = {f.family: f.verdict for f in decision.families}
    assert verdicts == {"beside": "gained", "open": "held", "reach": "held", "stack": "held"}


def test_a_loss_stops_it_whatever_was_gained():
    lost = wins("stack", 48, 20)
    decision = decide([*base(2, stack=lost), *[wins("beside", 48, 0, 40)] * 2], set(BASE), 2)
    assert decision.promote is False and "lost more than 0.05: 'stack' -0.42 (96 pairs)" in decision.reason


def test_what_is_not_accepted_may_be_lost():
    lost = wins("hover", 48, 20)
    assert decide([*base(4), *[lost, wins("beside", 48, 0, 40)] * 4], set(BASE), 4).promote is True


def test_an_equal_does_not_replace_the_incumbent_and_costs_one_look():
    decision = decide([*base(1), wins("beside", 48)], set(BASE), 1)
    assert decision.promote is False and decision.reason.startswith("nothing gained")


def test_small_gains_of_all_families_count_as_one():
    many = [wins(f"f{i}", 24, 0, 7) for i in range(8)]
    decision = decide(many, set(), 4)
    assert decision.promote and all(f.verdict != "gained" for f in decision.families)
    assert decide(many[:1], set(), 4).promote is False


def test_without_a_decision_by_the_last_look_the_incumbent_stays():
    doubtful = wins("reach", 24, 2)
    decision = decide([*base(4, reach=doubtful), *[wins("beside", 48, 0, 30)] * 4], set(BASE), 4)
    assert decision.promote is False and "not shown to have lost less than 0.1: reach" in decision.reason


@pytest.mark.parametrize(("n", "held"), [(24, False), (25, True)])
def test_without_any_failure_25_pairs_show_at_the_last_look_that_less_than_a_tenth_was_lost(n, held):
    """Score: sqrt(n / 9), to be compared with 1.645."""
    found = decide([wins("a", n)], {"a"}, 4).families[0]
    assert found.hold == pytest.approx(math.sqrt(n / 9)) and (found.verdict == "held") == held


def test_a_family_left_out_of_a_look_is_judged_by_its_earlier_ones():
    decision = decide([*base(3), wins("beside", 48, 0, 30)], set(BASE), 3)
    assert {f.family: f.n for f in decision.families} == {"beside": 48, "open": 24, "reach": 72, "stack": 144}


def test_the_next_look_costs_no_more_than_the_first():
    members = {"open": 1, "reach": 3, "stack": 6, "tower": 24}
    assert first_look(members, 8) == {"open": 24, "reach": 24, "stack": 48, "tower": 96}
    assert allot(["open", "reach", "tower"], members, 8) == {"open": 24, "reach": 33, "tower": 96}
    assert allot(["open", "stack"], members, 8) == {"open": 24, "stack": 96}
    assert allot([], members, 8) == {}


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 40), min_size=1), st.integers(1, 32), st.data())
def test_no_look_costs_more_than_the_first_and_every_family_can_be_shown_to_have_held(members, episodes, data):
    """With few episodes per skill 'open the gripper', one skill, had 24 pairs after four looks, all alike: one too few."""
    first = first_look(members, episodes)
    families = data.draw(st.lists(st.sampled_from(sorted(members)), unique=True))
    more = allot(families, members, episodes)
    assert sum(more.values()) <= sum(first.values()) and set(more) == set(families)
    assert all(n <= 12 * episodes for n in (*first.values(), *more.values()))
    if episodes >= 4:
        every = allot(list(members), members, episodes)
        pairs = {name: first[name] + 3 * every[name] for name in members}
        assert all(decide([wins(name, n)], {name}, 4).families[0].verdict == "held" for name, n in pairs.items())


@given(st.integers(0, 200), st.integers(1, 30), st.integers(0, 9))
def test_pairs_are_spread_evenly_over_the_skills_of_a_family(pairs, members, seed):
    captions = [f"skill {i}" for i in range(members)]
    each = spread(pairs, captions, rng(seed))
    assert sum(each.values()) == pairs and set(each) <= set(captions)
    assert set(each.values()) <= {pairs // members, pairs // members + 1} - {0}


def test_a_gain_that_could_only_be_shown_by_luck_is_not_looked_for_to_the_end():
    """In a library of four blocks such gates took 3,600 pairs, ten minutes of a round."""
    looks = [*base(1), wins("tower", 96, 18, 30)]
    assert decide(looks, set(BASE), 1).reason.startswith("nothing gained")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: PairedCount("a", 8, 4, 3, 2), "parts of n"),
        (lambda: PairedCount("a", 8, 4, -1, 2), "parts of n"),
        (lambda: decide([wins("a", 8)], {"a", "b"}, 1), r"no pairs of \['b'\]"),
        (lambda: decide([], set(), 1), "no pairs of any family"),
        (lambda: decide([wins("a", 8)], {"a"}, 0), "from 1"),
        (lambda: GateSettings(tolerance=0.2), "tolerance 0.2"),
        (lambda: GateSettings(false_promotion=0), "exclusive"),
        (lambda: GateSettings(max_looks=0), "max_looks 0"),
        (lambda: AcceptanceSettings(lower=0.9), "lower 0.9"),
        (lambda: AcceptanceSettings(rounds=0), "rounds 0"),
    ],
)
def test_errors_name_the_value(wrong, says):
    with pytest.raises(LudusError, match=says):
        wrong()


# --- acceptance --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        ([], "0 of 0"),
        ([successes((5, 8), (6, 8), (6, 8))], "less than 0.8"),
        ([successes((8, 8))], "lower end is less than 0.7"),
        ([successes((8, 8), (8, 8), (5, 8))], "lower end is less than 0.7"),
        ([successes((8, 8), (8, 8), (7, 8))], "too few episodes to rule out 0.6 in 24 rounds"),
        ([successes(*[(8, 8)] * 5, (3, 8))] * 2, "members are behind: m5"),
    ],
)
def test_reasons_against_a_skill(looks, says):
    found = accept(looks)
    assert not found.accepted and says in found.reason


def test_a_good_family_is_accepted():
    assert accept([successes((8, 8), (8, 8), (8, 8), (8, 8))]).accepted
    assert accept([successes((7, 8), (8, 8), (7, 8)), successes((8, 8), (7, 8), (8, 8))]).accepted
    assert accept([successes(*[(7, 8)] * 6)] * 3).reason == "126 of 144, 95 % interval 0.81 to 0.92"


@given(st.lists(st.lists(st.integers(0, 8), min_size=3, max_size=3), min_size=1, max_size=4), st.randoms())
def test_acceptance_does_not_depend_on_the_order_and_rises_with_success(looks, random):
    rows = [successes(*[(k, 8) for k in look]) for look in looks]
    found = accept(rows)
    random.shuffle(rows)
    assert accept(rows).accepted == found.accepted and accept(rows).evidence == pytest.approx(found.evidence)
    better = accept([successes(*[(min(k + 1, 8), 8) for k in look]) for look in looks])
    assert better.evidence >= found.evidence and (better.accepted or not found.accepted)


# --- error rates -------------------------------------------------------------------------------------------------


def simulate(draw, rates, looks=4):
    """Decision of one gate; rates: family -> (pairs per look, success of the old and of the new policy)."""
    seen = []
    for look in range(1, looks + 1):
        for family, (n, old, new) in rates.items():
            a, b = draw.random(n) < old, draw.random(n) < new
            seen.append(PairedCount(family, n, int((a & b).sum()), int((a & ~b).sum()), int((b & ~a).sum())))
        decision = decide(seen, set(rates) - {"beside"}, look)
        if decision.promote is not None:
            return decision
    raise AssertionError


def test_policies_that_are_no_better_are_not_promoted():
    for level in (0.5, 0.9, 1.0):
        draw = rng(0, "null", int(10 * level))
        rates = {"reach": (24, level, level), "stack": (48, level, level), "beside": (48, 0.5, 0.5)}
        assert sum(simulate(draw, rates).promote is True for _ in range(150)) == 0


def test_clean_retrains_are_promoted_and_no_loss_is_declared():
    draw = rng(0, "clean")
    rates = {"reach": (24, 0.99, 0.99), "stack": (48, 0.99, 0.99), "beside": (48, 0.0, 0.5)}
    found = [simulate(draw, rates) for _ in range(100)]
    assert sum(d.promote is True for d in found) >= 90
    assert not any(d.reason.startswith("lost") for d in found)


@pytest.mark.parametrize(("loss", "most"), [(0.1, 16), (0.2, 2)])
def test_few_losses_slip_through(loss, most):
    """At most `missed_harm` of 100, and three standard deviations."""
    draw = rng(0, "loss", int(10 * loss))
    rates = {"reach": (24, 1.0, 1.0 - loss), "stack": (48, 1.0, 1.0), "beside": (48, 0.0, 0.5)}
    assert sum(simulate(draw, rates).promote is True for _ in range(100)) <= most


def test_a_skill_at_the_floor_is_hardly_ever_accepted_in_ten_rounds():
    draw, ever = rng(0, "floor"), 0
    for _ in range(150):
        rounds = draw.binomial(8, 0.6, (10, 4, 3))
        ever += any(
            accept([successes(*[(int(k), 8) for k in look]) for look in looks[:i]]).accepted
            for looks in rounds
            for i in range(1, 5)
        )
    assert ever <= 7 + 3 * 2.7  # 5 % of 150, three standard deviations above it


def test_the_confidence_sequence_holds_at_all_looks_at_once():
    draw, missed = rng(0, "coverage"), 0
    for _ in range(200):
        old = new = 0
        for n in range(12, 97, 12):
            lost, won, _ = draw.multinomial(12, (0.05, 0.25, 0.7))
            old, new = old + int(lost), new + int(won)
            low, high = interval(n, old, new)
            if not low <= 0.2 <= high:
                missed += 1
                break
    assert missed <= 10 + 3 * 3.1


def test_log_e_does_not_overflow():
    assert log_e(np.full(32, 5000.0)) == pytest.approx(5000)


def test_a_gain_that_was_shown_stays_shown_while_others_are_looked_at():
    """Later looks at families that only hold weaken the evidence of all as one; it was enough before."""
    first = [wins("doubtful", 12, 1, 1), wins("risen", 48, 0, 40)]
    one = decide(first, {"doubtful", "risen"}, 1)
    assert one.promote is None and one.gain >= DEFAULT.needed and one.open == ("doubtful",)
    later = [*first, *[wins("doubtful", 60, 2, 0)] * 2]
    assert decide(later, {"doubtful", "risen"}, 3).gain < DEFAULT.needed
    decision = decide(later, {"doubtful", "risen"}, 3, gain_before=one.gain)
    assert decision.promote is True and decision.gain == one.gain
    lost = [*first, *[wins("doubtful", 60, 30, 0)] * 2]
    assert decide(lost, {"doubtful", "risen"}, 3, gain_before=one.gain).promote is False


def test_gains_are_looked_for_where_something_is_practised():
    """A base skill that is practised counts like a written one: its evidence has a larger share."""
    seen = [*base(2, stack=wins("stack", 24, 0, 12)), *[wins("beside", 24, 1, 1)] * 2]
    known = decide(seen, set(BASE), 2)
    practised = decide(seen, set(BASE), 2, practised={"stack"})
    assert practised.gain > known.gain
    assert [f.hold for f in practised.families] == [f.hold for f in known.families]
    lost = decide([wins("stack", 48, 40, 0)], {"stack"}, 1, practised={"stack"})
    assert lost.promote is False  # it must not be lost, either


def test_a_gain_shown_otherwise_leaves_only_losses_to_look_for():
    """A practised family that is good enough to be accepted: the pairs need not show how much better it got."""
    held = [PairedCount("known", 200, 198, 1, 1), PairedCount("new", 48, 20, 2, 6)]
    assert decide(held, {"known"}, 1).promote is not True
    decision = decide(held, {"known"}, 1, has_gained=True)
    assert decision.promote is True and "good enough to be accepted" in decision.reason
    lost = [PairedCount("known", 200, 100, 90, 0), PairedCount("new", 48, 20, 2, 6)]
    assert decide(lost, {"known"}, 1, has_gained=True).promote is False
