"""What a rollout needs crosses to another process: the same scores there as here."""

import multiprocessing
import pickle

import numpy as np
import pytest
from counting_world import CountingWorld

from ludus.skills.expression import parse
from ludus.skills.library import SkillLibrary
from ludus.skills.predicates import block_predicates
from ludus.skills.vocabulary import Predicate, predicate
from ludus.worlds.blocks.skills import extra_skills
from ludus.worlds.blocks.world import BlocksWorld

BLOCKS = BlocksWorld(3, 1, threads=1)
LIBRARY = BLOCKS.library().add(*extra_skills(BLOCKS.spec.objects))


def again(x):
    return pickle.loads(pickle.dumps(x))


def observations(spec, n=50):
    draw = np.random.default_rng(0)
    seen = {g.name: draw.normal(0, 0.1, (n, g.size)).astype(np.float32) for g in spec.observation.groups}
    for name in spec.objects:
        if "size" in spec.observation.by_name[name].slices:
            seen[name][:, spec.observation.by_name[name].slices["size"]] = 0.04
    return seen


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("library", [LIBRARY, CountingWorld().library()], ids=["blocks", "counting"])
def test_a_library_scores_the_same_elsewhere(library):
    seen = observations(BLOCKS.spec if library is LIBRARY else CountingWorld().spec)
    copy = again(library)
    assert copy.captions == library.captions and list(copy) == list(library)
    assert [s.hash for s in copy] == [s.hash for s in library]
    assert copy.vocabulary == library.vocabulary
    assert equal(copy.score(seen), library.score(seen))


def _score(library, seen):
    return library.score(seen)


def test_a_library_scores_the_same_in_a_new_process():
    seen = observations(BLOCKS.spec)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert equal(pool.apply(_score, (LIBRARY, seen)), LIBRARY.score(seen))


def test_expressions_and_vocabularies():
    seen = observations(BLOCKS.spec)
    for skill in LIBRARY:
        for expression in LIBRARY.parse(skill):
            copy = again(expression)
            assert copy == expression and str(copy) == str(expression) and copy.type == expression.type
            assert np.array_equal(copy.evaluate(seen), expression.evaluate(seen))
    assert again(LIBRARY.vocabulary) == LIBRARY.vocabulary
    long = parse("not (near(red) and open()) or -(1 - height(red)) < 2", LIBRARY.vocabulary)
    assert np.array_equal(again(long).evaluate(seen), long.evaluate(seen))


def test_a_predicate_is_itself_again():
    assert all(again(p) is p for p in block_predicates())


def plain(spec, o, x):
    return np.ones(len(o[x]), bool)


def test_predicates_that_no_decorator_made():
    made = Predicate("plain", ("object",), "bool", plain, "always", (("plain", (0,)),))
    assert again(made) == made
    local = predicate("bool")(lambda spec, o, x: np.ones(len(o[x]), bool))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(local)


def test_specs_and_skills():
    for spec in (BLOCKS.spec, CountingWorld().spec):
        assert again(spec) == spec and again(spec).observation == spec.observation
        assert again(spec).observation.by_name.keys() == spec.observation.by_name.keys()
        assert again(spec).encoder is spec.encoder
    assert all(again(s) == s for s in LIBRARY)
    assert isinstance(again(SkillLibrary(LIBRARY.vocabulary, [])), SkillLibrary)
