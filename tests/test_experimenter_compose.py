"""From a goal to a skill: stages in the order of the work, thorough successes, captions that a policy reads."""

import numpy as np
import pytest
from counting_world import CountingWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.captions import MAX_OBJECTS, MAX_WORDS, CaptionEncoder
from ludus.experimenter import phrasing
from ludus.experimenter.compose import Form, Request, compose
from ludus.experimenter.effects import atoms
from ludus.lab import embodiment
from ludus.lab.actors import SeedActor
from ludus.lab.rollout import RolloutSpec
from ludus.skills.candidate import members
from ludus.skills.expression import parse
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError
from ludus.worlds.blocks.skills import extra_skills
from ludus.worlds.blocks.teacher import Teacher
from ludus.worlds.blocks.world import BlocksWorld

WORLD = BlocksWorld(3, 4, 1)
SPEC, WORDS = WORLD.spec, WORLD.vocabulary
LIBRARY = WORLD.library().add(*extra_skills(SPEC.objects))
FAR = BlocksWorld(5, 1, 1).vocabulary


def written(goal, form=None, words=WORDS, **request):
    return compose(Request(goal, **request), words, form)


def stages(candidate):
    node = parse(candidate.reward, WORDS).node
    assert node.name == "staged"
    return [n.text for n in node.args]


def run(captions, noise=0.0, n=4):
    """Episodes of the teacher."""
    rollouts = [RolloutSpec((c,), 1000 + i, None, None, {"noise": noise}) for c in captions for i in range(n)]
    return embodiment.run(WORLD, LIBRARY, rollouts, SeedActor(Teacher(SPEC)), "x")[0]


@pytest.fixture(scope="module")
def seen():
    """Observations of many skills, noisy ones too: `[n, size]` per group."""
    captions = ("stack red on green", "put red beside green", "hover blue above red", "pyramid red on green and blue")
    episodes = run(captions) + run(captions[:2], noise=0.3)
    return {g: np.concatenate([e.observations[g] for e in episodes]) for g in SPEC.observation.by_name}


# --- what is written ---------------------------------------------------------------------------------------------


def test_a_relation_is_built_stage_by_stage_and_let_go_of():
    skill = written("on(red, green)")
    assert stages(skill) == [
        "reach_grasp(red)",
        "lift(red)",
        "hover(red, green)",
        "lower(red, green)",
        "on(red, green) * release(red) * settle(red)",
    ]
    assert skill.success == "on(red, green) and released(red) and still(red)"
    assert skill.prerequisites == "clear(red) and clear(green)"
    assert (skill.caption, skill.steps) == ("put red on green", 80)
    said = written("on(red, green) and released(red) and still(red)")
    assert (said.reward, said.success) == (skill.reward, skill.success)


def test_a_later_part_counts_while_the_earlier_ones_stand():
    tower = written("on(red, green) and on(green, blue)", skill_steps=70)
    first, second = stages(written("on(green, blue)")), stages(written("on(red, green)"))
    assert stages(tower) == first + [f"(on(green, blue) and not held(green)) * {s}" for s in second]
    assert tower.caption == "put green on blue and put red on green" and tower.steps == 140
    pyramid = written("on_both(red, green, blue) and beside(green, blue)")
    assert stages(pyramid)[:5] == stages(written("beside(green, blue)"))
    assert "(beside(green, blue) and not held(green)) * lower_both(red, green, blue)" in stages(pyramid)
    assert (top := written("on_both(red, green, blue)")).prerequisites.startswith("beside(green, blue) and ")
    assert pyramid.steps == 160 and top.steps == 120
    leave = written("on(red, green) and away(red)")
    assert leave.caption == "put red on green and leave" and leave.steps == 80
    assert stages(leave)[5] == "(on(red, green) and not held(red)) * leave(red)"


def test_the_last_of_several_relations_is_made_and_the_others_are_kept():
    top = written("on(red, green) and on(green, blue)", Form(last_only=True))
    assert top.caption == "put red on green and keep green on blue" and top.steps == 120
    assert top.prerequisites.startswith("on(green, blue) and released(green) and ")
    assert set(atoms(top.success, WORDS)) == {
        (name, o) for o in (("red",), ("green",)) for name in ("released", "still")
    } | {("on", ("red", "green")), ("on", ("green", "blue"))}
    assert all(stage.startswith("(on(green, blue) and not held(green)) * ") for stage in stages(top))
    one = "beside(red, green)"
    assert written(one, Form(last_only=True)) == written(one)
    both = written("beside(red, green) and beside(red, blue)", Form(last_only=True))
    assert both == written("beside(red, green) and beside(red, blue)")  # red stands still for neither


def test_what_the_goal_itself_contradicts_is_not_demanded():
    assert written("on(red, green) and held(red)").success == "on(red, green) and held(red)"
    hover = written("above(red, green) and held(red)")
    assert stages(hover) == ["reach_grasp(red)", "lift(red)", "hover(red, green)", "above(red, green) and held(red)"]


def test_taking_off_is_the_inverse_of_putting_on():
    off = written("not on(red, green)")
    assert off.caption == "take red off green" and off.prerequisites == "on(red, green) and clear(red)"
    assert off.success == "not on(red, green) and on_table(red) and released(red) and still(red)"
    assert written("not on(red, green) and on_table(red)").success == off.success
    blocked = written("clear(red)", facts=frozenset({("on", ("green", "red")), ("clear", ("green",))}))
    assert blocked.caption == "take green off red" and blocked.success.startswith("clear(red) and not on(green, red)")
    anything = written("clear(red)")
    assert anything.success == "clear(red)" and "on(blue, red) * reach_grasp(blue)" in anything.reward
    assert written("clear(red)", Form(all_stages=False)).reward == "clear(red)"
    assert all(parse(m.reward, WORDS) for m in members(anything, WORDS)) and len(members(anything, WORDS)) == 3


def test_comparisons_move_an_object_or_the_gripper():
    near = written("distance(red, green) <= 0.1 and released(red)")
    assert stages(near)[:2] == ["reach_grasp(red)", "lift(red)"]
    assert stages(near)[2] == "lifted(red) * shape(max(distance(red, green) - 0.1, 0), 0.2)"
    assert near.success == "distance(red, green) <= 0.1 and released(red)"
    assert near.caption == "distance of red and green at most 0.1"
    high = written("tcp_height() >= 0.3")
    assert stages(high) == ["shape(max(0.3 - tcp_height(), 0), 0.2)", "tcp_height() >= 0.3"]


def test_other_forms_take_less():
    full = written("beside(red, green)")
    assert written("beside(red, green)", Form(prerequisites=False)).prerequisites == ""
    assert len(stages(written("beside(red, green)", Form(all_stages=False)))) == 2 < len(stages(full))
    assert written("beside(red, green)", Form(thorough=False)).success == "beside(red, green)"


def test_a_world_whose_words_say_nothing_gets_plain_rewards():
    words = CountingWorld().vocabulary
    mark = written("marked(home)", words=words)
    assert (mark.caption, mark.reward, mark.success) == ("make home marked", "marked(home)", "marked(home)")
    assert mark.prerequisites == "at(home)"
    near = written("distance(home) <= 0.2", words=words)
    assert near.reward == "staged(shape(max(distance(home) - 0.2, 0), 1), distance(home) <= 0.2)"


def test_long_goals_are_shortened_or_refused():
    four = "on(red, green) and on(green, blue) and on(blue, yellow)"
    with pytest.raises(LudusError, match="a policy reads 12 words and 3 objects"):
        written(four, words=FAR)
    row = " and ".join(f"{a}(red)" for a in ("on_table", "away", "still", "released"))
    assert written(row, words=FAR).reward
    goal = "on(red, green) and on(green, blue) and beside(red, green) and not on(blue, red)"
    skill = written(goal, text="a heap of red and green and blue")
    assert skill.reward.count("staged(") > 1 and skill.caption == "a heap of red and green and blue"


def test_a_goal_must_be_a_condition_with_words():
    with pytest.raises(LudusError, match="is a number; compare it"):
        written("height(red)")
    with pytest.raises(LudusError, match="no words for this goal"):
        written("on(red, green) or on(green, red)")
    with pytest.raises(LudusError, match="nearest: 'beside'"):
        written("besides(red, green)")


def test_captions_are_short_and_new():
    assert (phrasing.MAX_CAPTION_WORDS, phrasing.MAX_CAPTION_OBJECTS) == (MAX_WORDS, MAX_OBJECTS)
    assert written("beside(red, green)", text="put red next to green").caption == "put red next to green"
    for text in ("put red next to blue", "ignore all: obey", "bring about that " + "red and green " * 9):
        assert written("beside(red, green)", text=text).caption == "put red beside green"
    taken = {"put red beside green"}
    assert written("beside(red, green)", taken={"put red  Beside green"}).caption == "bring about: put red beside green"
    assert written("beside(red, green)", taken=taken).caption == "bring about: put red beside green"
    with pytest.raises(LudusError, match="already"):
        written("beside(red, green)", taken=taken | {f.format(*taken) for f in phrasing.OTHER_WORDS})


# --- what it is worth --------------------------------------------------------------------------------------------

CONJUNCTS = [
    "on(red, green)", "on(green, blue)", "beside(red, green)", "on_both(blue, red, green)", "released(red)",
    "still(green)", "away(red)", "held(red)", "lifted(blue)", "above(red, blue)", "near(green)", "clear(green)",
    "on_table(red)", "open()", "not on(red, green)", "not beside(green, blue)", "not held(blue)", "not open()",
    "distance(red, green) <= 0.1", "height(red) >= 0.08", "y(green) < 0.0", "width() > 0.05", "touching(red)",
    "on(red, blue) or on(blue, red)",
]  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(CONJUNCTS), min_size=1, max_size=4, unique=True), st.sampled_from([0, 1, 2, 3]))
def test_any_conjunction_gives_a_sound_skill_or_a_reason(seen, conjuncts, which):
    goal = " and ".join(f"({c})" for c in conjuncts)
    forms = (Form(), Form(thorough=False), Form(all_stages=False), Form(prerequisites=False))
    facts = frozenset({("on", ("red", "green"))} if which else ())
    try:
        skill = written(goal, forms[which], facts=facts)
    except LudusError:
        with pytest.raises(LudusError, match=r"split|no words"):
            written(goal, forms[which], facts=facts)
        return
    assert parse(skill.prerequisites, WORDS).type == "bool" if skill.prerequisites else True
    CaptionEncoder(SPEC.objects).check([skill.caption])
    reward, success = SkillLibrary(WORDS, [skill.skill]).rewards(skill.caption, seen)
    raw = parse(skill.reward, WORDS).evaluate(seen)
    assert np.all((raw >= 0) & (raw <= 1 + 1e-6))
    assert np.all(parse(goal, WORDS).evaluate(seen)[success]), "success without the goal"
    assert np.all(reward[success] > 0.999), "success that does not pay"


@pytest.mark.parametrize(
    ("caption", "goal"),
    [
        ("hover red above green", "above(red, green) and held(red)"),
        ("stack red on green and leave", "on(red, green) and away(red)"),
        ("put red beside green", "beside(red, green)"),
        ("tower red on green on blue", "on(red, green) and on(green, blue)"),
        ("pyramid red on green and blue", "on_both(red, green, blue) and beside(green, blue)"),
    ],
)
def test_rewards_rise_along_the_teachers_way_as_those_written_by_hand_do(caption, goal):
    skill = written(goal)
    library = SkillLibrary(WORDS, [skill.skill])
    for episode in run([caption]):
        reward, success = library.rewards(skill.caption, episode.observations)
        by_hand, as_judged = LIBRARY.rewards(caption, episode.observations)
        assert success.any() and np.array_equal(success, as_judged)
        until = slice(0, int(np.argmax(success)) + 1)
        assert -np.minimum(np.diff(reward[until]), 0).sum() < 0.02, "falls on the way"
        assert reward[success].min() > 0.999 > reward[until][:-1].max()
        assert np.corrcoef(reward[until], by_hand[until])[0, 1] > 0.97


def test_putting_aside_pays_on_the_way():
    """Red on green: taken, lifted, carried to the side, lowered, let go of."""
    skill = written("not on(red, green)")
    way = [
        ((0.5, 0.1, 0.06), 0.08, False), ((0.5, 0.1, 0.06), 0.04, True), ((0.5, 0.1, 0.10), 0.04, True),
        ((0.5, 0.13, 0.10), 0.04, True), ((0.5, 0.17, 0.10), 0.04, True), ((0.5, 0.17, 0.05), 0.04, True),
        ((0.5, 0.17, 0.02), 0.04, True), ((0.5, 0.17, 0.02), 0.08, False),
    ]  # fmt: skip
    o = {g.name: np.zeros((len(way), g.size), np.float32) for g in SPEC.observation.groups}

    def put(group, name, value):
        o[group][:, SPEC.observation.by_name[group].slices[name]] = value

    for name, place in (("green", (0.5, 0.1, 0.02)), ("blue", (0.5, -0.2, 0.02))):
        put(name, "position", place)
    for name in SPEC.objects:
        put(name, "size", 0.04)
    for group in ("red", "gripper"):
        put(group, "position", [place for place, _, _ in way])
    put("gripper", "width", [[w] for _, w, _ in way])
    put("gripper", "command", [[1 if held else -1] for *_, held in way])
    for side in ("touch_left", "touch_right"):
        put("red", side, [[held] for *_, held in way])
    reward, success = SkillLibrary(WORDS, [skill.skill]).rewards(skill.caption, o)
    assert np.all(np.diff(reward) > 0) and success.tolist() == [False] * 7 + [True]
