"""Verification: bad candidates are stopped by the right check, good ones pass, and nothing that is written breaks it."""

import random
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from candidate_bank import BAD, BESIDE, GOOD, TOWER
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_evidence import load

from ludus.agents import captions
from ludus.skills.candidate import Candidate
from ludus.skills.expression import parse
from ludus.skills.library import SkillLibrary
from ludus.skills.verify import Evidence, verify, written
from ludus.skills.verify.possible import LASTING, feasible
from ludus.types import LudusError
from ludus.worlds.blocks.skills import base_skills, extra_skills
from ludus.worlds.blocks.world import BlocksWorld

WORLD = BlocksWorld(3, 1, 1)
WORDS, SPEC = WORLD.vocabulary, WORLD.spec.observation
LIBRARY = SkillLibrary(WORDS, [s for s in base_skills(WORDS.objects) if "leave" not in s.caption])
NAMES = (
    "parses", "names", "finite", "bounded", "not_always", "possible", "success_pays", "rises", "not_hackable", "new",
    "prerequisites",
)  # fmt: skip


@cache
def evidence() -> Evidence:
    return load(SPEC)


@cache
def few() -> Evidence:
    """Six episodes: enough to find what breaks."""
    return Evidence(evidence().episodes[::24], evidence().starts)


def result(check, verification):
    return next(c for c in verification.checks if c.name == check)


# --- the bank -----------------------------------------------------------------------------------------------------


def test_the_bank_is_large():
    assert len(BAD) >= 40 and len(GOOD) >= 25
    assert {bad.check for bad in BAD.values()} == set(NAMES)


@pytest.mark.parametrize("candidate", GOOD, ids=lambda c: c.caption)
def test_good_candidates_pass(candidate):
    verification = verify(candidate, LIBRARY, evidence())
    assert [c for c in verification.checks if not c.passed] == []
    assert verification.passed and verification.failed is None
    assert tuple(c.name for c in verification.checks) == NAMES


@pytest.mark.parametrize("skill", extra_skills(WORDS.objects), ids=lambda s: s.caption)
def test_the_worlds_further_skills_pass(skill):
    assert (
        verify(Candidate(skill.caption, skill.reward, skill.success, skill.steps), LIBRARY, evidence()).failed is None
    )


@pytest.mark.parametrize("name", BAD)
def test_bad_candidates_are_stopped_by_the_right_check(name):
    check, candidate, goal = BAD[name]
    verification = verify(candidate, LIBRARY, evidence(), goal)
    assert not verification.passed
    assert verification.failed is not None and verification.failed.name == check, verification.failed
    assert len(verification.checks) == (1 if check == "parses" else len(NAMES))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown predicate", "next_to"),
        ("steps for ever", "5 to 400"),
        ("caption about other blocks", "reads red"),
        ("divides by zero", "divides by 0 at"),
        ("percent", "above 1: for example, reward"),
        ("true at the start", "64 of 64 starts"),
        ("too little time", r"6 steps are given, the fastest of \d+ stored episodes took \d+"),
        ("out of reach", r"height\(red\) is -0\.\d+ to 0\.\d+"),
        ("on each other", "no combination"),
        ("reward inverted", r"reward is 0\.\d+ where success holds"),
        ("only the end is paid", "rises along 0"),
        ("holding still", r"at 64 beginnings.* is 0\.\d\d already"),
        ("hovering", r"\d+ stored observations, \d+ times.*lifted\(red\) = true"),
        ("goal turned round", r"on\(red, green\) does not hold"),
        ("known behaviour", "'lift red'"),
        ("prerequisites that hinder", r"before \d+ of \d+ stored successes; chance would give"),
    ],
)
def test_details_name_the_values(name, said):
    _, candidate, goal = BAD[name]
    failed = verify(candidate, LIBRARY, evidence(), goal).failed
    assert failed is not None and re.search(said, failed.detail), failed


# --- what may be missing ------------------------------------------------------------------------------------------


def test_without_episodes_only_starts_are_judged():
    verification = verify(BESIDE, LIBRARY, Evidence((), evidence().starts))
    assert "not judged" in result("rises", verification).detail
    assert tuple(c.name for c in verification.checks) == NAMES
    assert verify(BAD["true at the start"].candidate, LIBRARY, Evidence((), evidence().starts)).failed == result(
        "not_always", verify(BAD["true at the start"].candidate, LIBRARY, Evidence((), evidence().starts))
    )


def test_evidence_needs_starts():
    with pytest.raises(LudusError, match="without starts"):
        Evidence(evidence().episodes, {g: a[:0] for g, a in evidence().starts.items()})


def test_a_success_that_was_never_seen_is_composed_of_what_was():
    success = parse(TOWER.success, WORDS)
    seen = tuple(e for e in evidence().episodes if not success.evaluate(e).any())
    unseen = Evidence(seen, evidence().starts)
    verification = verify(TOWER, LIBRARY, unseen)
    assert verification.failed is None
    assert "fit together when composed" in result("possible", verification).detail
    assert "composed observations" in result("success_pays", verification).detail
    pays_half = Candidate(TOWER.caption, f"0.4 * {TOWER.reward}", TOWER.success, TOWER.steps)
    assert not result("success_pays", verify(pays_half, LIBRARY, unseen)).passed


@pytest.mark.parametrize(
    "text", ["on(red, green) and on(green, blue) and on_table(blue)", "beside(red, blue) and held(green)"]
)
def test_composed_observations_meet_the_condition(text):
    condition = parse(text, WORDS)
    apart = {g: a[~condition.evaluate(evidence().together)] for g, a in evidence().together.items()}
    check, composed = feasible("possible", condition, apart, len(apart["red"]))
    assert check.passed and composed is not None and condition.evaluate(composed).all()


def test_what_needs_only_a_finished_relation_can_follow_it():
    """Nobody who put it there ever left, since no skill does; who holds it above was never away."""
    seen = evidence().together
    on, away, above = (
        parse(text, WORDS).evaluate(seen) for text in ("on(red, green)", "away(red)", "above(red, green)")
    )

    def check(goal, first, lasting=LASTING):
        rare, usual = np.flatnonzero(first & ~away)[:40], np.flatnonzero(away & ~first)
        rows = np.concatenate([usual, *([u] + [r] * lasting for u, r in zip(usual[:40], rare, strict=True))])
        return feasible("possible", parse(goal, WORDS), {g: a[rows] for g, a in seen.items()}, len(rows))[0]

    assert check("on(red, green) and away(red)", on).passed
    held_above = "above(red, green) and away(red)", above & ~on
    assert "never in the 40 times" in check(*held_above).detail
    assert "never in" not in check(*held_above, lasting=LASTING - 1).detail  # it flew by


def test_a_goal_that_is_no_condition_is_not_checked():
    for goal in (None, "", "tidy up the table", "height(red)", "\ud800", 7):
        assert verify(BESIDE, LIBRARY, few(), goal) == verify(BESIDE, LIBRARY, few())  # type: ignore[arg-type]


def test_prerequisites_give_a_skill_something_to_undo():
    off = next(c for c in GOOD if c.caption == "take red off green")
    bare = Candidate(off.caption, off.reward, off.success, off.steps)
    failed = verify(bare, LIBRARY, evidence()).failed
    assert failed is not None and failed.name == "not_always"


def test_a_sibling_is_not_refused_because_its_objects_were_seldom_seen_so():
    keep = next(c for c in GOOD if c.caption == "put red on green and keep green on blue")
    stands = parse("on(green, blue) and not held(green)", WORDS)
    seldom = [e for e in evidence().episodes if not stands.evaluate(e).any()]
    scarce = Evidence((*seldom, next(e for e in evidence().episodes if stands.evaluate(e).any())), evidence().starts)
    failed = verify(keep, LIBRARY, scarce).failed
    assert failed is not None and failed.name == "not_hackable" and "hardly depends" in failed.detail
    assert verify(keep, LIBRARY, scarce, is_sibling=True).failed is None
    pays_at_once = replace(keep, reward="1")
    assert verify(pays_at_once, LIBRARY, scarce, is_sibling=True).failed is not None


def test_a_guarded_division_is_finite():
    reward = f"if_else(speed(red) > 0.01, 0.001 / speed(red), 0) * 0.1 + 0.9 * ({BESIDE.reward})"
    assert result("finite", verify(Candidate(BESIDE.caption, reward, BESIDE.success, 80), LIBRARY, few())).passed
    bare = f"clip(0.001 / speed(red), 0, 1) * 0.1 + 0.9 * ({BESIDE.reward})"
    still = {g: np.array(a) for g, a in few().starts.items()}
    still["red"][:, SPEC.by_name["red"].slices["velocity"]] = 0
    resting = Evidence(few().episodes, still)
    assert not result("finite", verify(Candidate(BESIDE.caption, bare, BESIDE.success, 80), LIBRARY, resting)).passed


def test_captions_have_the_limits_of_a_policy():
    assert (written.MAX_WORDS, written.MAX_OBJECTS) == (captions.MAX_WORDS, captions.MAX_OBJECTS)


# --- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", [*GOOD[::6], BAD["hovering"].candidate, BAD["on each other"].candidate])
def test_the_order_of_episodes_does_not_matter(candidate):
    shuffled = list(evidence().episodes)
    random.Random(0).shuffle(shuffled)
    assert verify(candidate, LIBRARY, Evidence(tuple(shuffled), evidence().starts)) == verify(
        candidate, LIBRARY, evidence()
    )


def test_verification_changes_nothing():
    before = {g: a.copy() for g, a in few().together.items()}
    for candidate in GOOD[::5]:
        first = verify(candidate, LIBRARY, few())
        assert verify(candidate, LIBRARY, few()) == first
    assert all(np.array_equal(before[g], a) for g, a in few().together.items())


CALLS = [p.signature.split("(")[0] for p in WORDS.predicates]
ALPHABET = "(),.0123456789abe*/+-<>=' \"_[]{}:;#@\\\n\x00é赤"
WORD = st.sampled_from(
    [*CALLS, "red", "green", "blue", "yellow", "and", "or", "not", "if_else", "staged", "(", ")", ","]
)
TEXTS = st.one_of(
    st.text(max_size=60), st.text(ALPHABET, max_size=60), st.lists(WORD, max_size=25).map(" ".join),
    st.integers(1, 3000).map(lambda n: "(" * n), st.integers(1, 2500).map(lambda n: "not " * n + "open()"),
    st.integers(1, 2500).map(lambda n: "-" * n + "1"),
)  # fmt: skip


def tree(draw: random.Random, result: str, depth: int) -> str:
    """Any expression of the language."""

    def real() -> str:
        return tree(draw, "real", depth - 1)

    def condition() -> str:
        return tree(draw, "bool", depth - 1)

    if depth == 0 or draw.random() < 0.25:
        p = draw.choice([p for p in WORDS.predicates if p.result == result])
        return f"{p.name}({', '.join(draw.sample(WORDS.objects, len(p.parameters)))})"
    if result == "bool":
        kinds = (
            lambda: f"({real()} {draw.choice(['<', '<=', '>', '>='])} {real()})",
            lambda: f"({condition()} {draw.choice(['and', 'or'])} {condition()})",
            lambda: f"(not {condition()})",
        )
    else:
        kinds = (
            lambda: repr(draw.choice([0, 1, -1, 1e6, 1e-9, draw.gauss(0, 1)])),
            lambda: f"({real()} {draw.choice('+-*/')} {real()})",
            lambda: f"{draw.choice(['min', 'max', 'shape', 'staged'])}({real()}, {real()})",
            lambda: f"clip({real()}, 0, 1)",
            lambda: f"if_else({condition()}, {real()}, {real()})",
        )
    return draw.choice(kinds)()


@st.composite
def mutated(draw):
    """Text of a good candidate with a piece cut out, doubled or replaced."""
    c = draw(st.sampled_from(GOOD))
    text = draw(st.sampled_from([c.reward, c.success]))
    a, b = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    return text[:a] + draw(st.sampled_from(["", text[a:b] * 2, "red", "green", " and not ", "0", ") * ("])) + text[b:]


def well_formed(verification):
    names = tuple(c.name for c in verification.checks)
    assert names == NAMES or (names == NAMES[:1] and not verification.passed)
    assert all(type(c.passed) is bool and c.detail.isprintable() and len(c.detail) < 2000 for c in verification.checks)
    for c in verification.checks:
        c.detail.encode()


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, TEXTS, TEXTS, st.one_of(st.integers(), st.just(80)))
def test_any_text_is_judged(caption, reward, success, prerequisites, steps):
    well_formed(verify(Candidate(caption, reward, success, steps, prerequisites), LIBRARY, few(), success))
    well_formed(verify(Candidate(BESIDE.caption, reward, success, 80, prerequisites), LIBRARY, few(), caption))
    well_formed(verify(Candidate(caption, BESIDE.reward, BESIDE.success, 80), LIBRARY, few(), reward))


@settings(max_examples=150, deadline=None)
@given(mutated(), st.sampled_from(GOOD))
def test_mutated_candidates_are_judged(text, good):
    caption = "move red, green and blue"
    well_formed(verify(Candidate(caption, text, good.success, 80), LIBRARY, few(), text))
    well_formed(verify(Candidate(caption, good.reward, text, 80), LIBRARY, few(), good.success))
    well_formed(verify(Candidate(caption, good.reward, good.success, 80, text), LIBRARY, few()))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 7))
def test_any_expression_of_the_language_is_judged(seed, depth):
    draw = random.Random(seed)
    reward, success, prerequisites, goal = (tree(draw, t, depth) for t in ("real", "bool", "bool", "bool"))
    candidate = Candidate("move red, green and blue", reward, success, 80, draw.choice(["", prerequisites]))
    well_formed(verify(candidate, LIBRARY, few(), goal))
