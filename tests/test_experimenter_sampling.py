"""Proposers that draw skills by a rule: sequences at random, by learning progress, of the weakest."""

from collections import Counter

import numpy as np
import pytest
from counting_world import CountingWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.config import ExperimenterConfig
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.experimenter.roles import DecomposeQuestion, ProposeQuestion, RetrieveQuestion, Scene, SkillStats
from ludus.experimenter.sampling import EPSILON, by_progress, recent_change, uniform, weakest
from ludus.types import LudusError

WORLD = CountingWorld()
CAPTIONS = WORLD.library().captions
THERE = Scene(WORLD.spec.objects, ())
NEITHER, ROSE, FELL = (True, False) * 8, (False,) * 8 + (True,) * 8, (True,) * 8 + (False,) * 8


def skill(caption, successes=0, n=0, recent=()):
    return SkillStats(caption, WORLD.library()[caption].success, n, successes, tuple(recent))


def proposer(name, seed=0):
    return assemble(RoleContext(WORLD.vocabulary, seed, ExperimenterConfig(propose=name)))


def drawn(name, skills, n=200, max_steps=5):
    """How often each skill is drawn in n proposals."""
    player = proposer(name)
    tasks = [player.propose(ProposeQuestion(f"q{i}", THERE, tuple(skills), max_steps=max_steps)).task for i in range(n)]
    return Counter(caption for task in tasks for caption in task.split("; "))


@pytest.mark.parametrize("name", ["sequences", "progress", "weakest"])
def test_a_proposal_is_carried_out_as_the_sequence_that_was_drawn(name):
    player, skills = proposer(name), tuple(map(skill, CAPTIONS))
    sequences = set()
    for i in range(30):
        proposal = player.propose(ProposeQuestion(f"q{i}", THERE, skills, max_steps=4))
        steps = player.decompose(DecomposeQuestion(f"q{i}", THERE, proposal, skills, 4))
        found = [player.retrieve(RetrieveQuestion(f"q{i}/{s}", s, THERE, skills)).caption for s in steps]
        assert len(found) == 4 and set(found) <= set(CAPTIONS) and "; ".join(steps) == proposal.task
        sequences.add(proposal.task)
    assert len(sequences) > 20
    again = proposer(name).propose(ProposeQuestion("q3", THERE, skills, max_steps=4))
    assert again == player.propose(ProposeQuestion("q3", THERE, skills, max_steps=4))


@pytest.mark.parametrize("name", ["sequences", "progress", "weakest"])
def test_nothing_is_proposed_without_a_skill(name):
    with pytest.raises(LudusError, match="library has no skill"):
        proposer(name).propose(ProposeQuestion("q", THERE, ()))


def test_random_sequences_ignore_what_is_known():
    skills = [skill(c, successes=k, n=10, recent=ROSE) for k, c in enumerate(CAPTIONS)]
    counts = drawn("sequences", skills)
    assert set(counts) == set(CAPTIONS) and min(counts.values()) > 0.7 * max(counts.values())


def test_learning_progress_draws_what_changes_up_or_down():
    recent = dict(zip(CAPTIONS, (ROSE, FELL, NEITHER, (False,) * 16), strict=True))
    counts = drawn("progress", [skill(c, recent=r) for c, r in recent.items()])
    up, down, same, never = (counts[c] / sum(counts.values()) for c in CAPTIONS)
    assert min(up, down) > 0.38 and min(same, never) > 0.02 and max(same, never) < 0.1


def test_without_any_progress_all_skills_are_alike():
    assert by_progress([skill(c, recent=NEITHER) for c in CAPTIONS]) == pytest.approx(uniform(CAPTIONS))
    assert by_progress([skill(CAPTIONS[0])]) == pytest.approx([1])


def test_the_weakest_is_drawn_and_of_several_all_alike():
    a, b, c, d = (skill(name, k, 8) for name, k in zip(CAPTIONS, (8, 2, 1, 1), strict=True))
    assert set(drawn("weakest", [a, b])) == {b.caption}
    counts = drawn("weakest", [a, b, c, d])
    assert set(counts) == {c.caption, d.caption} and min(counts.values()) > 400


@settings(deadline=None)
@given(st.lists(st.lists(st.booleans(), max_size=32), min_size=1, max_size=6), st.data())
def test_rules_give_probabilities(outcomes, data):
    skills = []
    for recent in outcomes:
        n = data.draw(st.integers(0, 8))
        skills.append(SkillStats("x", "", n, data.draw(st.integers(0, n)), tuple(recent)))
    for rule in (uniform, by_progress, weakest):
        p = rule(skills)
        assert p.shape == (len(skills),) and (p >= 0).all() and p.sum() == pytest.approx(1)
    assert (by_progress(skills) >= EPSILON / len(skills) - 1e-12).all()
    changes = np.array([recent_change(s.recent) for s in skills])
    assert (np.abs(changes) < 1).all()
    assert [recent_change(s.recent[::-1]) for s in skills if len(s.recent) % 2 == 0] == [
        pytest.approx(-c) for c, s in zip(changes, skills, strict=True) if len(s.recent) % 2 == 0
    ]
