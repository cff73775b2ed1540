"""Gaps become candidates, candidates are checked, and what passes is practised."""

import dataclasses
from collections import Counter

import pytest
import stored_evidence

from ludus.config import Config, override
from ludus.experimenter import assemble
from ludus.experimenter.compose import Form, Request, compose
from ludus.experimenter.context import RoleContext
from ludus.experimenter.roles import NoAnswer, SkillStats
from ludus.lab.approach import Approach, find_approaches
from ludus.lab.growth import AGAIN_AFTER, Growth, open_gaps
from ludus.lab.interventions import Overseer
from ludus.lab.oversight import APPROVAL, EFFECT, say, waiting_skills
from ludus.lab.practice import Practice, practice_rollouts, way_to
from ludus.lab.rules import Rules
from ludus.record import Progress, Record
from ludus.skills.candidate import Candidate, members
from ludus.types import Plan, Proposal, Retrieval, SuccessCount
from ludus.worlds.blocks.world import BlocksWorld

WORLD = BlocksWorld(3, 1, 1)
LIBRARY = WORLD.library()
BESIDE = "staged(reach_grasp(red), lift(red), carry_beside(red, green), beside(red, green) * release(red))"
GOOD = Candidate("put red beside green", BESIDE, "beside(red, green) and released(red) and still(red)", 80)
ALWAYS = dataclasses.replace(GOOD, success="height(red) > -1")


def gap(step, goal, name="r1-s0-a0"):
    return Plan(name, Proposal(f"try to {step}", "", 0.5, goal), (step,), (Retrieval(step, None, step),))


@pytest.fixture
def grown(tmp_path):
    """`grown(plans, *settings, write_skill=None, rounds=1)` -> (library, record, growth, practice) after so many rounds."""
    opened = []

    def make(plans, *settings, write_skill=None, rounds=1):
        config = override(Config(), settings)
        record = Record.create(tmp_path / f"run-{len(opened)}", config)
        opened.append(record)
        with record.commit("begin"):
            record.add_skills(LIBRARY)
            for plan in plans:
                record.add_plan(1, plan)
        experimenter = assemble(RoleContext(WORLD.vocabulary))
        if write_skill is not None:
            experimenter = dataclasses.replace(experimenter, more={"write_skill": write_skill})
        rules = Rules(config.oversight.forbid, WORLD.vocabulary)
        overseer = Overseer(record, config, WORLD.vocabulary, rules, Progress())
        practice, library = Practice(record, WORLD.spec, config), LIBRARY
        growth = Growth(experimenter, practice, record, WORLD, config, overseer=overseer)
        for n in range(1, rounds + 1):
            library = growth.grow(n, library, lambda: stored_evidence.load(WORLD.spec.observation))
        return library, record, growth, practice

    yield make
    for record in opened:
        record.__exit__(None, None, None)


def test_a_gap_grows_a_family_whose_checks_and_author_are_recorded(grown):
    library, record, _, practice = grown([gap("put red beside green", "beside(red, green)")])
    new = [s for s in record.skills() if s["round"] == 1]
    assert {s["caption"] for s in new} == set(library.captions) - set(LIBRARY.captions) and len(new) == 6
    assert all(s["author"] == "planner" and s["status"] == "practising" and not s["base"] for s in new)
    (told,) = record.result("round/1/grow")["gaps"]
    assert told["joined"] == [s["caption"] for s in new] and all(c["passed"] for c in told["tried"][-1]["checks"])
    assert [m.kind for m in record.messages()][-3:] == ["candidate", "verification", "skills"]
    assert practice.practising(library) == {"put X beside Y": told["joined"]} and not open_gaps(record, library)


def test_a_rejected_candidate_goes_back_with_the_check_that_failed_at_most_three_times(grown):
    asked = []

    def author(question):
        asked.append(question)
        return GOOD if question.rejections else ALWAYS

    _, record, *_ = grown([gap("put red beside green", "beside(red, green)")], write_skill=author)
    assert len(asked) == 2 and asked[1].rejections[0].candidate == ALWAYS
    assert asked[1].rejections[0].check in asked[1].rejections[0].detail or asked[1].rejections[0].detail
    tried = record.result("round/1/grow")["gaps"][0]["tried"]
    assert [all(c["passed"] for c in t["checks"]) for t in tried] == [False, True]

    _, record, *_ = grown([gap("put red beside green", None)], write_skill=lambda q: ALWAYS, rounds=AGAIN_AFTER + 2)
    assert len(record.result("round/1/grow")["gaps"][0]["tried"]) == 3 and record.skills()[-1]["base"]
    asked = {n: [g["key"] for g in record.result(f"round/{n}/grow")["gaps"]] for n in range(2, AGAIN_AFTER + 3)}
    again = AGAIN_AFTER + 1  # when there is more to judge by
    assert asked.pop(again) == ["r1-s0-a0/write/0/again1"] and not any(asked.values())


def test_a_family_that_passed_is_practised_once_somebody_approves_it(grown):
    gaps = [gap("put red beside green", "beside(red, green)")]
    library, record, growth, practice = grown(gaps, "oversight.approve_skills=true", "oversight.timeout_s=1e-9")
    assert len(waiting_skills(record)) == 6 and not practice.practising(library) and not practice.focus(1)
    assert "/approve put X beside Y" in record.messages(APPROVAL)[0].text
    say(record, "/approve put X beside Y", "Anna")
    watching(record).decide(1)
    growth.admit(1, library)
    assert len(practice.practising(library)["put X beside Y"]) == 6 and practice.rounds_of("put X beside Y") == 1
    assert practice.focus(1) and practice.rollouts(1, library, {})[0]

    library, record, growth, practice = grown(gaps, "oversight.approve_skills=true", "oversight.timeout_s=1e-9")
    watching(record).decide(1)  # nobody says anything
    growth.admit(1, library)
    assert not practice.rollouts(1, library, {})[0] and {s["status"] for s in record.skills()} == {"base", "dropped"}
    assert "nobody said anything in time" in record.messages(EFFECT)[0].text


def test_a_skill_that_a_rule_forbids_goes_back_to_its_author(grown):
    gaps = [gap("put red beside green", "beside(red, green)")]
    rule = "oversight.forbid=beside(red, green); held(blue)"
    library, record, *_ = grown(gaps, rule, write_skill=lambda q: GOOD)
    tried = record.result("round/1/grow")["gaps"][0]["tried"]
    assert len(tried) == 3 and tried[0]["checks"][-1]["name"] == "rules" and library.captions == LIBRARY.captions
    assert "'beside(red, green)'" in tried[0]["checks"][-1]["detail"]
    library, record, *_ = grown(gaps, rule.replace("red, green", "blue, red"), write_skill=lambda q: GOOD)
    new = [s["caption"] for s in record.skills() if s["round"]]
    assert GOOD.caption in new and not any(c.startswith("put blue") for c in new)  # what would hold blue is left out
    refused = record.result("round/1/grow")["gaps"][0]["refused"]
    assert {r["check"] for r in refused} == {"rules"} and {"put blue beside green"} <= {r["caption"] for r in refused}
    assert "Not with these objects: 'put" in next(m.text for m in record.messages() if m.kind == "note")
    _, record, *_ = grown(gaps, rule, "oversight.ask=true", write_skill=lambda q: GOOD)
    assert len(waiting_skills(record)) == 6 and "forbids" in record.messages(APPROVAL)[0].text


def watching(record):
    return Overseer(record, record.config, WORLD.vocabulary, Rules("", WORLD.vocabulary), Progress())


def test_an_author_who_cannot_tell_and_hostile_text_leave_the_library_as_it_was(grown):
    def silent(question):
        raise NoAnswer("could not tell")

    def hostile(question):
        return Candidate("x" * 5000, "__import__('os').system('true')", "lambda: 1", -1, "((((", "\x00")

    for author in (silent, hostile):
        library, record, *_ = grown([gap("fly", "on(red, green)")], write_skill=author)
        assert library.captions == LIBRARY.captions and not [s for s in record.skills() if s["round"]]


def test_the_simplest_gap_comes_first_and_others_wait_for_their_turn(grown):
    pyramid = gap("build it", "beside(green, blue) and on_both(red, green, blue)", "r1-s0-a0")
    beside = gap("put red beside green", "beside(red, green)", "r1-s1-a0")
    _, record, *_ = grown([pyramid, pyramid_again(pyramid), beside], "experiment.max_practising=1", rounds=2)
    assert [g["plan"] for g in record.result("round/1/grow")["gaps"]] == ["r1-s1-a0"]
    assert record.result("round/2/grow")["gaps"] == []  # nobody has settled the first one
    assert [g.plan.id for g in open_gaps(record, LIBRARY)] == ["r1-s0-a0"]
    _, record, *_ = grown([beside], "experiment.max_practising=0")
    assert record.result("round/1/grow") == {"gaps": [], "practice": {"ways": {}, "rehearsed": {}, "exploration": 0.0}}


def test_what_follows_a_relation_is_a_gap_of_its_own_for_each(grown):
    away = "bring about that The gripper is well away from red"
    stack, beside = gap(away, "on(red, green) and away(red)"), gap(away, "beside(red, green) and away(red)", "r1-s1-a0")
    said = [gap("push red", None, f"r1-s{i}-a0") for i in (2, 3)]  # anybody else's words are one gap, whatever the task
    said[1] = dataclasses.replace(said[1], proposal=dataclasses.replace(said[1].proposal, task="tidy up"))
    stack = dataclasses.replace(stack, proposal=dataclasses.replace(stack.proposal, task="stack red on green and away"))
    _, record, *_ = grown([stack, beside, *said], "experiment.max_practising=0")
    assert len(open_gaps(record, LIBRARY)) == 3


def test_two_gaps_of_one_plan_are_asked_about_under_two_names(grown):
    """Answers are kept by name: under one name, the second gap would get the first one's."""
    asked = []

    def author(question):
        asked.append(question.key)
        raise NoAnswer("could not tell")

    one, other = gap("fly red", "on(red, green)"), gap("throw green", "on(green, red)")
    both = dataclasses.replace(one, retrievals=(*one.retrievals, *other.retrievals))
    _, record, *_ = grown([both], write_skill=author)
    assert asked == ["r1-s0-a0/write/0/0", "r1-s0-a0/write/1/0"]
    assert [g["key"] for g in record.result("round/1/grow")["gaps"]] == ["r1-s0-a0/write/0", "r1-s0-a0/write/1"]


def test_accepted_skills_are_rehearsed_while_others_are_practised(grown):
    """A skill that nobody demonstrated is forgotten once it is no longer practised."""
    beside, pyramid = (
        gap("put red beside green", "beside(red, green)"),
        gap("x", "on_both(red, green, blue)", "r1-s1-a0"),
    )
    library, record, growth, practice = grown([beside])
    assert not practice.rehearsed(library) and [f.share for f in practice.focus(1)] == [0.5]
    with record.commit("settle"):
        known = [c for c in library.captions if c.startswith("put")]
        record.add_evaluation("curve", 1, [SuccessCount(c, library[c].hash, 20, 19, 19) for c in known])
        for caption in practice.practising(library)["put X beside Y"]:
            record.set_skill_status(caption, "accepted", 1)
        record.add_plan(2, pyramid)
    library = growth.grow(2, library, lambda: stored_evidence.load(WORLD.spec.observation))
    practised, rehearsed = practice.focus(2)
    assert len(rehearsed.captions) == 6 and practised.captions.isdisjoint(rehearsed.captions)
    rollouts, _ = practice.rollouts(2, library, {})
    told = Counter(next(iter(r.info.items())) for r in rollouts)
    again = round(0.15 * 192)
    assert told == {("rehearsal", "put X beside Y"): again, ("practice", "put X on both Y and Z"): 192 - again}
    ways = record.result("round/2/grow")["practice"]["rehearsed"]["put X beside Y"]
    assert ways and not any(set(way) & set(ways) for way in ways.values())  # it does not lead to itself


def test_base_skills_that_the_policy_cannot_do_yet_are_practised_too(grown):
    beside = gap("put red beside green", "beside(red, green)")
    for stacks, settings, practised in [
        (4, (), {"put X beside Y", "stack X on Y"}),
        (2, (), {"stack X on Y"}),  # so rarely that the written skill waits
        (8, (), {"put X beside Y"}),
        (2, ("experiment.practise_below=0",), {"put X beside Y"}),
        (2, ("experiment.practise_below=0.2",), {"put X beside Y"}),
    ]:
        library, record, _, practice = grown([beside], *settings)
        with record.commit("pretrain"):
            lacking = [c for c in library.captions if library.template(c) == "stack X on Y"]
            some = dict.fromkeys(lacking, stacks) | {"lift red": 4}  # lift X: .83
            successes = dict.fromkeys(library.captions, 8) | some
            record.add_evaluation("curve", 9, [SuccessCount(c, library[c].hash, 8, n, n) for c, n in successes.items()])
        before = practice.rollouts(1, library, {})
        practice.choose(1, library)
        rollouts, exploration = practice.rollouts(1, library, {})
        assert Counter(r.info["practice"] for r in rollouts) == {t: 192 // len(practised) for t in practised}
        told = {library.template(c) for r in rollouts for c in r.captions}
        (focus,) = practice.focus(1)
        assert practised <= told and {library.template(c) for c in focus.captions} == practised and exploration == 0.1
        assert (rollouts, exploration) == before or "stack X on Y" in practised
        assert set(practice.practising(library)) == {"put X beside Y"}  # a base skill is neither accepted nor dropped
        n = len(record.steps())
        practice.choose(1, library)
        assert len(record.steps()) == n


def test_written_skills_wait_for_base_skills_but_not_for_ever(grown):
    library, record, _, practice = grown([gap("put red beside green", "beside(red, green)")])
    with record.commit("pretrain"):
        counts = [SuccessCount(c, library[c].hash, 8, 1, 1) for c in library.captions]
        record.add_evaluation("curve", 9, counts)
    for n in (1, 2, 3, 4):
        practice.choose(n, library)
        practised = practice.templates(n)
        assert ("put X beside Y" in practised) == (n == 4) and "stack X on Y" in practised
        assert record.result(f"round/{n}/practise").get("waiting") == (None if n == 4 else ["put X beside Y"])
    said = [m.text for m in record.messages() if m.kind == "skills"][-4:]
    assert "'put X beside Y' waits" in said[2] and "waits" not in said[3]
    assert practice.rounds_of("put X beside Y") == 0  # what waits is not tried, and not given up for it


def pyramid_again(plan):
    return dataclasses.replace(plan, id="r1-s0-a1")


def test_practice_begins_where_prerequisites_lead_and_fills_no_more_than_an_episode(grown):
    library, record, _, practice = grown([gap("put red beside green", "beside(red, green)")], rounds=1)
    ways = record.result("round/1/grow")["practice"]["ways"]
    assert ways["put X beside Y"]["put red beside green"] == ["lift red"]
    rollouts = practice_rollouts(ways, library, WORLD.spec, 40, 7, {})
    assert rollouts == practice_rollouts(ways, library, WORLD.spec, 40, 7, {}) and len({r.seed for r in rollouts}) == 40
    members = set(ways["put X beside Y"])
    for rollout in rollouts:
        assert members & set(rollout.captions) and rollout.info == {"practice": "put X beside Y"}
        assert sum(library[c].steps for c in rollout.captions) <= WORLD.spec.episode_steps
    assert {r.captions[0] in members for r in rollouts} == {True, False}
    needed = {c: Approach("held(red)", ("lift red",)) for c in members if c.startswith("put red")}
    for rollout in practice_rollouts(ways, library, WORLD.spec, 40, 7, needed):
        told = rollout.captions
        assert all(told[i - 1] == "lift red" for i, c in enumerate(told) if c in needed)
    assert practice_rollouts({}, library, WORLD.spec, 40, 7, {}) == []
    assert len(practice.rollouts(1, library, {})[0]) == practice.config.experiment.practice_episodes


def test_the_way_to_a_skill_leaves_room_for_it():
    spec = dataclasses.replace(WORLD.spec, episode_steps=160)
    library = LIBRARY.add(dataclasses.replace(GOOD, steps=100).skill)
    assert way_to(GOOD.caption, library, (), spec, None) == ()


def test_what_is_to_be_kept_is_built_first_and_the_rest_is_left_to_the_skill():
    """Else a tower's top was practised after 'stack red on green, stack green on blue, stack red on green', which seldom ends
    with green on blue."""
    goal = "on(red, green) and on(green, blue) and released(red) and still(red)"
    top = compose(Request(goal), LIBRARY.vocabulary, Form(last_only=True))
    library = LIBRARY.add(*(c.skill for c in members(top, LIBRARY.vocabulary)))
    others = [s for s in library if library.template(s.caption) != library.template(top.caption)]
    known = [SkillStats(s.caption, s.success, 48, 48, prerequisites=s.prerequisites) for s in others]
    approach = find_approaches(library, WORLD.spec)[top.caption]
    assert way_to(top.caption, library, known, WORLD.spec, approach) == ("stack green on blue", "hover red above green")


def test_a_known_skill_that_would_end_the_way_at_once_makes_it_no_shorter():
    """With 'put X beside Y' known, 'put X beside Y and keep Y beside Z' was practised from where the gripper is at Y only, and
    the policy took Y again."""
    beside = members(GOOD, LIBRARY.vocabulary)
    goal = "beside(red, green) and beside(green, blue) and released(red) and still(red)"
    row = compose(Request(goal), LIBRARY.vocabulary, Form(last_only=True))
    library = LIBRARY.add(*(c.skill for c in beside), *(c.skill for c in members(row, LIBRARY.vocabulary)))
    others = [s for s in library if library.template(s.caption) != library.template(row.caption)]
    known = [SkillStats(s.caption, s.success, 48, 48, prerequisites=s.prerequisites) for s in others]
    approach = find_approaches(library, WORLD.spec)[row.caption]
    assert way_to(row.caption, library, known, WORLD.spec, approach) == ("put green beside blue", "lift red")
