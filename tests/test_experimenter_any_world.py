"""The planner over any words: libraries that lack skills, comparisons as goals, objects that cannot be moved."""

from contextlib import suppress
from itertools import permutations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ludus.experimenter import writing
from ludus.experimenter.chaining import AT_ONCE, GAP, Chainer
from ludus.experimenter.compose import Request, compose
from ludus.experimenter.effects import atoms, is_lasting, moved_by
from ludus.experimenter.planner import Planner
from ludus.experimenter.roles import (
    DecomposeQuestion,
    NoAnswer,
    ProposeQuestion,
    RetrieveQuestion,
    Scene,
    SkillStats,
    WriteQuestion,
)
from ludus.lab.context import achieved, facts
from ludus.skills.candidate import members
from ludus.skills.expression import atom_text, parse
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.predicates import Vocabulary, block_vocabulary
from ludus.skills.vocabulary import Shaping, predicate
from ludus.types import Field, Group, LudusError, ObservationSpec, Proposal
from ludus.worlds.blocks.skills import base_skills, extra_skills

BLOCK_FIELDS = ("position", 3), ("velocity", 3), ("touch_left", 1), ("touch_right", 1), ("size", 1)
FIELDS = tuple(Field(n, s, "", "") for n, s in BLOCK_FIELDS)
HAND = tuple(Field(n, s, "", "") for n, s in (("position", 3), ("width", 1), ("command", 1)))


def blocks(*names, fixed=()):
    groups = (Group("gripper", "effector", HAND), *(Group(o, "object", FIELDS, o not in fixed) for o in names))
    return block_vocabulary(ObservationSpec(groups), names)


@predicate("real", shaping=Shaping(scale=0.5))
def opening(spec, o, x):
    """How far X is pulled out."""
    return o[x][..., 0]


@predicate("bool", shaping=Shaping(completed_by=(("quiet", ()),), phrase="switch the light on"))
def light(spec, o):
    """The light is on."""
    return o["hand"][..., 0] > 0


@predicate("bool")
def quiet(spec, o):
    """Nothing moves."""
    return o["hand"][..., 1] > 0


@predicate("bool", ("light", ()), ("quiet", ()))
def inside(spec, o, x, y):
    """X is in Y."""
    return o[x][..., 1] > o[y][..., 1]


WORDS = blocks("red", "green", "blue")
MARKED = blocks("cube", "ball", "goal", "base", fixed=("goal", "base"))
PLACE = tuple(Field(n, 1, "1", n) for n in ("a", "b"))
DRAWERS = Vocabulary(
    ObservationSpec(
        (Group("hand", "effector", PLACE), *(Group(o, "object", PLACE, o == "cup") for o in ("drawer", "cup")))
    ),
    ("drawer", "cup"),
    (opening, light, quiet, inside),
)
PUSH = [
    Skill("push cube to goal", "1 - distance(cube, goal)", "distance(cube, goal) <= 0.05"),
    Skill("push ball to base", "1 - distance(ball, base)", "distance(ball, base) <= 0.05"),
    Skill("reach cube", "reach(cube)", "tcp_distance(cube) <= 0.02"),
    Skill("close", "1 - width()", "not open()"),
    Skill("keep cube low or slow", "1", "height(cube) <= 0.1 or speed(cube) <= 0.1"),
    Skill("put the cube down", "1", "height(cube) <= 0.01", prerequisites="distance(cube, goal) <= 0.05"),
]
LIBRARIES = {
    "blocks": (WORDS, base_skills(WORDS.objects) + extra_skills(WORDS.objects)),
    "goals": (MARKED, base_skills(("cube", "ball")) + PUSH),
    "drawers": (
        DRAWERS,
        [
            Skill("pull drawer", "opening(drawer)", "opening(drawer) >= 0.3"),
            Skill("light and quiet", "light()", "light() and quiet()"),
            Skill("fill drawer", "1", "inside(cup, drawer) and not quiet()", prerequisites="opening(drawer) >= 0.3"),
            Skill("both", "1", "(light() or quiet()) and opening(drawer) - opening(cup) > 0.1"),
        ],
    ),
}


def every_condition(vocabulary, skills):
    """Texts of all atoms over the objects, and of all that skills demand."""
    words = [p for p in vocabulary.predicates if p.result == "bool" and len(p.parameters) <= len(vocabulary.objects)]
    found = [atom_text((p.name, o)) for p in words for o in permutations(vocabulary.objects, len(p.parameters))]
    found += [atom_text(a) for s in skills for a in atoms(s.success, vocabulary)]
    return list(dict.fromkeys([*found, *(f"not {t}" for t in found[: len(found) // 4])]))


CONDITIONS = {name: every_condition(*library) for name, library in LIBRARIES.items()}


def known(skills, n=20, successes=19):
    return tuple(SkillStats(s.caption, s.success, n, successes, (), s.prerequisites) for s in skills)


# --- never anything but a sentence -------------------------------------------------------------------------------


@st.composite
def situations(draw):
    name = draw(st.sampled_from(sorted(LIBRARIES)))
    vocabulary, skills = LIBRARIES[name]
    chosen = draw(st.lists(st.sampled_from(skills), max_size=8, unique=True))
    stats = tuple(
        SkillStats(s.caption, s.success, 20, draw(st.sampled_from((0, 8, 20))), (), s.prerequisites) for s in chosen
    )
    conditions = st.lists(st.sampled_from(CONDITIONS[name]), max_size=5)
    scene = Scene(vocabulary.objects, tuple(f for f in draw(conditions) if not f.startswith("not ")))
    goal = " and ".join(f if " or " not in f else f"({f})" for f in draw(conditions)) or None
    return vocabulary, chosen, stats, scene, goal


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(situations(), st.integers(1, 5), st.booleans())
def test_any_part_of_a_library_plans_in_any_scene(situation, max_steps, at_once):
    vocabulary, skills, stats, scene, goal = situation
    planner, captions, missing = Planner(vocabulary, 0), {s.caption for s in skills}, []
    proposals = [Proposal(f"{AT_ONCE * at_once} what is wanted".strip(), "", 0.5, goal)]
    if stats:
        with suppress(NoAnswer):
            proposals.append(planner.propose(ProposeQuestion("p", scene, stats, (), (), max_steps, seek_gap=at_once)))
    for proposal in proposals:
        for step in planner.decompose(DecomposeQuestion("d", scene, proposal, stats, max_steps)):
            found = planner.retrieve(RetrieveQuestion("r", step, scene, stats))
            assert found.caption is None or found.caption in captions
            missing += [(step, proposal)] if found.caption is None else []
    for step, proposal in missing:
        question = WriteQuestion("w", step, proposal.task, proposal.goal, scene, tuple(skills))
        with suppress(NoAnswer):
            assert parse(writing.write(question, vocabulary).success, vocabulary).type == "bool"


def test_without_a_skill_that_opens_the_gripper_nothing_is_put_aside_for_it():
    library = [s for s in LIBRARIES["blocks"][1] if s.caption != "open the gripper"]
    planner, at = Planner(WORDS, 0), Scene(WORDS.objects, ("near(red)", "clear(red)", "held(green)"))
    proposal = planner.propose(ProposeQuestion("p", at, known(library)))
    steps = planner.decompose(DecomposeQuestion("d", at, proposal, known(library)))
    assert steps and not any("aside" in step for step in steps)


def test_an_object_does_not_stand_in_its_own_way():
    """Lifted with another one on it: it is the other one that is in the way."""
    at = ("held(green)", "lifted(green)", "on(red, green)")
    skills = [s for s in base_skills(WORDS.objects) if not s.caption.startswith("stack red")]
    steps = Chainer(WORDS, known(skills)).steps(
        atoms("on(green, blue)", WORDS), [a for f in at for a in atoms(f, WORDS)], 5
    )
    assert [s.text for s in steps] == ["move red off green and put it aside", "stack green on blue"]


def test_where_every_goal_holds_there_is_no_answer_rather_than_the_end_of_a_run():
    measured, skill = Vocabulary(DRAWERS.spec, DRAWERS.objects, (opening,)), LIBRARIES["drawers"][1][:1]
    planner, at = Planner(measured, 0), Scene(DRAWERS.objects, ())
    assert planner.propose(ProposeQuestion("p", at, known(skill))).task == "pull drawer"
    with pytest.raises(NoAnswer, match="every goal holds already"):
        planner.propose(ProposeQuestion("p", Scene(DRAWERS.objects, ("opening(drawer) >= 0.3",)), known(skill)))


# --- comparisons -------------------------------------------------------------------------------------------------


def steps_to(goal, skills, *true, **kwargs):
    at = [a for f in true for a in atoms(f, MARKED)]
    return [s.text for s in Chainer(MARKED, known(skills, **kwargs)).steps(atoms(goal, MARKED), at, 5)]


@given(st.sampled_from(sorted(LIBRARIES)), st.data())
def test_a_condition_is_read_as_it_was_written(name, data):
    vocabulary = LIBRARIES[name][0]
    chosen = data.draw(st.lists(st.sampled_from(CONDITIONS[name]), min_size=1, max_size=4))
    found = parse(" and ".join(chosen), vocabulary).conditions()
    assert [atom_text(a) for a in found] == chosen and all(o in vocabulary.objects for a in found for o in a[1])
    assert parse(" and ".join(map(atom_text, found)), vocabulary).conditions() == found


def test_odd_names_of_objects_stay_in_their_places():
    words = blocks("{1}", "it's", "light blue")
    (atom,) = atoms("distance('light blue', '{1}') <= 0.05", words)
    assert atom == ("distance({0}, {1}) <= 0.05", ("light blue", "{1}"))
    assert atoms(atom_text(atom), words) == (atom,)


def test_a_comparison_is_proposed_planned_and_known_to_hold():
    planner, scene = Planner(MARKED, 0), Scene(MARKED.objects, ())
    tasks = [t.text for t in planner.tasks(known(PUSH))]
    assert set(tasks) >= {s.caption for s in PUSH}
    proposed = {planner.propose(ProposeQuestion(f"p{i}", scene, known(PUSH[:3]))).task for i in range(20)}
    assert {"push cube to goal", "reach cube", "push cube to goal and push ball to base"} <= proposed
    both = "distance(cube, goal) <= 0.05 and distance(ball, base) <= 0.05"
    assert steps_to(both, PUSH) == ["push cube to goal", "push ball to base"]
    assert steps_to(both, PUSH, "distance(cube, goal) <= 0.05") == ["push ball to base"]
    assert steps_to("not open()", PUSH, "open()") == ["close"] and steps_to("not open()", PUSH) == []
    assert achieved(SkillLibrary(MARKED, PUSH[:1])) == {("distance({0}, {1}) <= 0.05", ("cube", "goal"))}


def test_a_comparison_in_other_spelling_is_the_same():
    assert steps_to("0.05 + 0 * 1 >= 0 and distance( cube,goal )<=.05", PUSH)[-1] == "push cube to goal"


def test_what_a_skill_needs_is_brought_about_if_another_skill_does_it():
    assert steps_to("height(cube) <= 0.01", PUSH) == ["push cube to goal", "put the cube down"]
    gap = f"{GAP} distance(cube, goal) <= 0.05"
    assert steps_to("height(cube) <= 0.01", PUSH[1:]) == [gap, "put the cube down"]


def test_moving_an_object_ends_what_was_compared_of_it_and_reaching_for_it_does_not():
    lift = base_skills(("cube", "ball"))
    at = "distance(cube, goal) <= 0.05", "clear(cube)", "open()"
    goal = "on(cube, ball) and distance(cube, goal) <= 0.05"
    assert steps_to(goal, [*PUSH, *lift], *at) == ["stack cube on ball", "push cube to goal"]
    goal = "tcp_distance(cube) <= 0.02 and distance(cube, goal) <= 0.05"
    assert steps_to(goal, PUSH, *at) == ["reach cube"]


def test_a_comparison_that_no_skill_brings_about_is_a_gap_that_is_written():
    goal = "distance(cube, goal) <= 0.05 and distance(ball, goal) <= 0.05"
    planner, scene = Planner(MARKED, 0), Scene(MARKED.objects, ())
    steps = planner.decompose(DecomposeQuestion("d", scene, Proposal("both", "", 0.5, goal), known(PUSH)))
    assert steps == ("push cube to goal", f"{GAP} distance(ball, goal) <= 0.05")
    written = writing.write(WriteQuestion("w", steps[1], "both", goal, scene, tuple(PUSH)), MARKED)
    assert atoms(written.success, MARKED) == atoms("distance(ball, goal) <= 0.05", MARKED)
    # words say more than a goal of which nothing is known
    question = DecomposeQuestion(
        "d", scene, Proposal("reach cube, then close", "", 0.5, "speed(cube) > 2"), known(PUSH)
    )
    assert planner.decompose(question) == ("reach cube", "close")


def test_comparisons_of_skills_are_among_the_facts_of_a_scene():
    rng = np.random.default_rng(0)
    seen = {g.name: rng.uniform(0, 0.1, (20, g.size)).astype(np.float32) for g in MARKED.spec.groups}
    near = parse("distance(cube, goal) <= 0.05", MARKED).evaluate(seen)
    found = facts(MARKED, seen, PUSH)
    assert near.any() and not near.all()
    assert ["distance(cube, goal) <= 0.05" in f for f in found] == near.tolist()
    assert not any(f.startswith("not ") for each in found for f in each)
    assert [f[: len(g)] for f, g in zip(found, facts(MARKED, seen), strict=True)] == facts(MARKED, seen)


# --- what can be moved -------------------------------------------------------------------------------------------


def test_nothing_is_arranged_of_what_cannot_be_moved():
    skills = base_skills(("cube", "ball")) + extra_skills(("cube", "ball"))
    tasks = Planner(MARKED, 0).tasks(known(skills))
    composed = [t for t in tasks if t.text.startswith("arrange")]
    assert composed and all(a[1][0] in ("cube", "ball") for t in composed for a in t.atoms if len(a[1]) > 1)
    assert any("goal" in t.text for t in composed)
    everything = blocks("cube", "ball", "goal", "base")
    assert len(Planner(everything, 0).tasks(known(skills))) > len(tasks)


def test_no_skill_is_composed_that_moves_what_cannot_be_moved():
    for goal in ("on(goal, cube)", "not on(goal, cube)", "beside(base, goal) and on(cube, base)"):
        with pytest.raises(LudusError, match="cannot be moved; name one of: ball, cube"):
            compose(Request(goal), MARKED)
    assert compose(Request("on(cube, goal)"), MARKED).caption == "put cube on goal"
    near = compose(Request("distance(goal, cube) <= 0.05"), MARKED)
    assert "lift(cube)" in near.reward and "lift(goal)" not in near.reward


def test_members_of_a_skill_exchange_like_for_like():
    push = compose(Request("distance(cube, goal) <= 0.05"), MARKED)
    found = {m.success for m in members(push, MARKED)}
    assert found == {f"distance({x}, {y}) <= 0.05" for x in ("cube", "ball") for y in ("goal", "base")}
    assert len(members(compose(Request("lifted(cube)"), MARKED), MARKED)) == 2


def test_reaching_for_a_fixture_moves_nothing():
    assert moved_by(("near", ("goal",)), MARKED) is None and moved_by(("near", ("cube",)), MARKED) == "cube"
    near, far = (atoms(f"{m}({o}) <= 1", MARKED)[0] for m, o in (("tcp_distance", "cube"), ("distance", "goal, cube")))
    assert moved_by(near, MARKED) is None and moved_by(far, MARKED) == "cube"
    assert is_lasting(far, MARKED) and not is_lasting(near, MARKED)
