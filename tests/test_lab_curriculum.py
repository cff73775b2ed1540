"""The curriculum and the room, on a world without pictures and with scripted experimenters."""

import dataclasses
import threading
from contextlib import suppress

import numpy as np
import pytest
from counting_world import CountingWorld, Walker

from ludus.config import Config, ExperimenterConfig
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.experimenter.roles import Experimenter
from ludus.lab.context import attempts_of, facts, skill_stats
from ludus.lab.curriculum import PRACTISE, Curriculum
from ludus.lab.embodiment import look, run
from ludus.lab.rollout import rollouts_of
from ludus.lab.room import Room
from ludus.record.record import Record
from ludus.types import LudusError, Outcome, Plan, Proposal, Retrieval, SuccessCount, Verdict


@pytest.fixture
def record(tmp_path):
    with Record.create(tmp_path / "run", Config()) as record:
        yield record


class Lab:
    def __init__(self, record, experimenter=None, pictures=None):
        self.world = CountingWorld()
        self.library = self.world.library()
        self.room = Room(record)
        experimenter = experimenter or assemble(RoleContext(self.world.vocabulary))
        self.curriculum = Curriculum(experimenter, self.room, self.world.spec, 0, pictures)
        self.stats = skill_stats(self.library, ())

    def context(self, round_=1, n=3, **kwargs):
        return self.curriculum.context(
            round_, look(self.world, range(n)), self.library.vocabulary, self.stats, **kwargs
        )

    def plans(self, record, round_=1, n=3, values=None, **kwargs):
        with record.commit(f"round/{round_}/plan"):
            return self.curriculum.plans(self.context(round_, n, **kwargs), values)


def scripted(task="go", steps=("go to home",), captions=("go to home",), goal=None):
    answers = dict(zip(steps, captions, strict=True))
    return Experimenter(
        lambda q: Proposal(task, "because", 0.5, goal),
        lambda q: tuple(steps),
        lambda q: Retrieval(q.step, answers[q.step], None if answers[q.step] else "a skill to fly"),
        lambda q: Verdict(q.curve.caption, "unclear", 0.5, "scripted"),
    )


def test_every_question_and_answer_is_in_the_room(record):
    lab = Lab(record)
    plans = lab.plans(record)
    assert len(plans) == 3 and len({p.id for p in plans}) == 3 and not any(p.gaps for p in plans)
    said = [(m.sender, m.addressee, m.kind) for m in record.messages()]
    assert (
        said
        == [
            ("curriculum", "experimenter", "scene"),
            ("experimenter", "curriculum", "proposal"),
            ("experimenter", "curriculum", "steps"),
            ("curriculum", "embodiment", "plan"),
        ]
        * 3
    )
    for message, plan in zip(record.messages("plan"), plans, strict=True):
        assert message.payload["id"] == plan.id and " → ".join(plan.captions) in message.text
    assert len({m.key for m in record.messages()}) == 12


def test_plans_repeat_themselves_after_a_crash(record, tmp_path):
    lab = Lab(record)
    with suppress(KeyboardInterrupt), record.commit("round/1/plan"):
        lab.curriculum.plans(lab.context(n=2))
        raise KeyboardInterrupt
    plans = lab.plans(record)
    with Record.create(tmp_path / "other", Config()) as other:
        assert Lab(other).plans(other) == plans
        assert other.messages() == record.messages()


def test_another_round_asks_anew(record):
    lab = Lab(record)
    first, second = (lab.plans(record, r, n=8) for r in (1, 2))
    assert [p.proposal for p in first] != [p.proposal for p in second]


def test_a_gap_is_announced_and_the_weakest_skill_practised(record):
    lab = Lab(record, scripted("fly home", ("go to home", "fly"), ("go to home", None)))
    lab.stats = skill_stats(
        lab.library, [SuccessCount(c, "", 9, 0 if c == "mark shop" else 9, 0) for c in lab.library.captions]
    )
    plans = lab.plans(record, n=1)
    assert [bool(p.gaps) for p in plans] == [True, True, True, False]
    assert plans[-1].captions == ("mark shop",) and plans[-1].proposal.why == PRACTISE
    gap = record.messages("gap")[0]
    assert "a skill to fly" in gap.text and gap.addressee == "all"
    with pytest.raises(LudusError, match="no skill for 'fly'"):
        rollouts_of(plans, [0])


def test_gaps_are_passed_on_to_the_next_question(record):
    asked = []
    lab = Lab(record)
    answers = scripted("fly", ("fly",), (None,))
    ask = dataclasses.replace(answers, propose=lambda q: asked.append(q.gaps) or answers.propose(q))
    lab.curriculum.experimenter = ask
    lab.plans(record, n=1, gaps=("swim",))
    assert asked == [("swim",), ("swim", "fly"), ("swim", "fly", "fly")]


def test_pictures_are_shown_and_their_absence_is_said(record):
    shown = []

    def pictures(name, observations):
        shown.append((name, observations["home"].shape))
        return (f"images/{name}.png",)

    lab = Lab(record, pictures=pictures)
    lab.plans(record, n=2)
    assert [m.images for m in record.messages("scene")] == [(f"images/{n}.png",) for n, _ in shown]
    assert shown[0][1] == (3,)

    def blind(name, observations):
        raise LudusError("no OpenGL")

    lab = Lab(record, pictures=blind)
    lab.plans(record, round_=2, n=1)
    last = record.messages("scene")[-1]
    assert last.images == () and "no picture: no OpenGL" in last.text


def test_steps_of_a_slow_experimenter_are_retrieved_at_the_same_time(record):
    answers, together = scripted(steps=("go", "mark it"), captions=("go to home", "mark home")), threading.Barrier(2)

    def retrieve(question):
        together.wait(10)
        return answers.retrieve(question)

    (plan,) = Lab(record, dataclasses.replace(answers, retrieve=retrieve, is_remote=True)).plans(record, n=1)
    assert plan.captions == ("go to home", "mark home")


def test_what_is_asked_ahead_is_what_is_asked(record):
    asked = []
    answers = scripted("fly", ("go", "fly"), ("go to home", None))
    listening = {
        role: lambda q, role=role: asked.append(q) or getattr(answers, role)(q)
        for role in ("propose", "decompose", "retrieve")
    }
    lab = Lab(record, dataclasses.replace(answers, is_remote=True, **listening), pictures=lambda name, o: (name,))
    context = lab.context(gaps=("swim",))
    lab.curriculum.prefetch(context).wait()
    before, said = sorted(asked, key=lambda q: q.key), record.messages()
    asked.clear()
    with record.commit("round/1/plan"):
        lab.curriculum.plans(context)
    assert sorted(asked, key=lambda q: q.key) == before and len(before) == 3 * 3 * 4
    assert said == [] and {q.scene.images for q in before} == {("r1-s0",), ("r1-s1",), ("r1-s2",)}


@pytest.mark.parametrize(
    ("experimenter", "message"),
    [
        (scripted(captions=("go to hom",)), "unknown skill retrieved 'go to hom'; nearest: 'go to home'"),
        (scripted(task=" "), "needs a task"),
        (scripted(steps=(), captions=()), "no steps"),
        (dataclasses.replace(scripted(), propose=lambda q: Proposal("x", "", 1.5)), "not in \\[0, 1\\]"),
    ],
)
def test_answers_out_of_bounds_are_refused(record, experimenter, message):
    with pytest.raises(LudusError, match=message):
        Lab(record, experimenter).plans(record)


def test_facts_are_the_conditions_that_hold():
    world = CountingWorld(2)
    seen = world.reset([0, 1], ["far", "there"])
    assert facts(world.vocabulary, seen) == [(), ("at(home)",)]
    seen["shop"][:, 2] = 1
    assert facts(world.vocabulary, seen) == [("marked(shop)",), ("at(home)", "marked(shop)")]


def test_skill_stats_sum_counts_and_keep_the_latest_outcomes(record):
    library = CountingWorld().library()
    counts = [
        SuccessCount("go to home", "", 8, 3, 5),
        SuccessCount("go to home", "", 8, 4, 5),
        SuccessCount("gone", "", 8, 8, 8),
    ]
    outcomes = [Outcome(f"e{i}", 0, "mark shop", "", i % 2 == 0, True, 0.5) for i in range(9)]
    stats = {c.caption: c for c in skill_stats(library, counts, outcomes, recent=4)}
    assert (stats["go to home"].n, stats["go to home"].successes) == (16, 7)
    assert stats["mark shop"].recent == (False, True, False, True) and stats["mark shop"].competence == 0.5
    assert tuple(stats) == library.captions


def test_a_task_succeeds_when_its_goal_holds_at_the_end(record):
    lab = Lab(record)

    def plan(name, goal, *captions):
        return Plan(name, Proposal(f"task {name}", "", 0.5, goal), captions, tuple(Retrieval(c, c) for c in captions))

    plans = [
        plan("both", "marked(home) and marked(shop)", "mark home", "mark shop", "go to home", "mark shop"),
        plan("none", "not marked(home)", "mark home"),
        plan("last", None, "go to home"),
        plan("odd", "marked(moon)", "go to home"),
        plan("real", "distance(home)", "go to home"),
    ]
    rollouts = rollouts_of(plans, [5] * 10, "there", {"round": 4})
    episodes, outcomes = run(lab.world, lab.library, rollouts, Walker(lab.world), "e")
    attempts = attempts_of(plans, episodes, outcomes, lab.world.vocabulary, 4)
    assert {p: [a.success for a in tries] for p, tries in attempts.items()} == {
        "both": [
            bool(np.all([e.observations[t][-1, 2] for t in ("home", "shop")])) for e in (episodes[0], episodes[5])
        ],
        "none": [False] * 2,
        "last": [True] * 2,
        "odd": [True] * 2,
        "real": [True] * 2,
    }
    assert attempts["none"][0].round == 4 and attempts["none"][0].task == "task none"
    with record.commit("round/4/tell"):
        lab.curriculum.tell(attempts, plans)
    assert [m.text for m in record.messages("outcome")][1] == "task none: 0 of 2 robots succeeded."


def test_robots_go_on_with_other_plans_and_the_first_one_is_judged_at_its_own_end(record):
    lab = Lab(record)

    def plan(name, goal, *captions):
        return Plan(name, Proposal(f"task {name}", "", 0.5, goal), captions, tuple(Retrieval(c, c) for c in captions))

    plans = [
        plan("mark", "marked(home)", "mark home"),
        plan("last", None, "go to home"),
        plan("go", None, "go to shop"),
    ]
    rollouts = rollouts_of(plans, [5] * 6, "there", fits=lambda told: len(told) <= 2)
    assert [r.captions for r in rollouts] == [
        *(("mark home", "go to home"), ("go to home", "go to shop"), ("go to shop", "mark home")),
        *(("mark home", "go to shop"), ("go to home", "mark home"), ("go to shop", "go to home")),
    ]
    assert [r.captions for r in rollouts_of(plans[:1], [5] * 3, fits=lambda told: True)] == [("mark home",)] * 3
    episodes, outcomes = run(lab.world, lab.library, rollouts, Walker(lab.world), "e")
    attempts = attempts_of(plans, episodes, outcomes, lab.world.vocabulary, 1)
    ends = [e.segments[1].start for e in (episodes[0], episodes[3])]
    homes = [bool(e.observations["home"][t, 2]) for e, t in zip((episodes[0], episodes[3]), ends, strict=True)]
    assert [a.success for a in attempts["mark"]] == homes
    first = {o.episode: o.success_at_end for o in outcomes if o.segment == 0}
    assert [a.success for a in attempts["go"]] == [first[episodes[2].id], first[episodes[5].id]]


def test_chance_in_every_role_breaks_nothing(record):
    world = CountingWorld()
    lab = Lab(record, assemble(RoleContext(world.vocabulary, 0, ExperimenterConfig(*["random"] * 4))))
    plans = lab.plans(record, n=30)
    runnable = [p for p in plans if not p.gaps]
    assert len(runnable) == 30
    episodes, outcomes = run(lab.world, lab.library, rollouts_of(runnable, range(30)), Walker(lab.world), "e")
    attempts = attempts_of(runnable, episodes, outcomes, lab.world.vocabulary, 1)
    assert sum(map(len, attempts.values())) == 30


def test_nobody_talks_outside_a_step_without_a_key(record):
    room = Room(record)
    with pytest.raises(LudusError, match="needs a key"):
        room.post("a", "all", "note", "hello")
    with pytest.raises(LudusError, match="outside a step"):
        _ = room.step
    for _ in range(2):
        room.post("a", "all", "note", "hello", key="start")
    assert [m.text for m in record.messages()] == ["hello"]


def test_a_first_step_is_grounded_in_what_is_possible_now(record):
    lab = Lab(record, scripted(steps=("go", "mark it"), captions=("go to home", "mark home")))
    sure = lab.curriculum.experimenter.retrieve
    options = (("go to home", 0.5), ("go to shop", 0.4), ("fly", 0.1))
    lab.curriculum.experimenter = dataclasses.replace(
        lab.curriculum.experimenter, retrieve=lambda q: dataclasses.replace(sure(q), options=options)
    )
    seen = []

    def values(scenes, captions):
        seen.append(({g: len(a) for g, a in scenes.items()}, tuple(captions)))
        return np.array([[0.1, 0.8]])

    lab.curriculum.affordance = 1.0
    (plan,) = lab.plans(record, n=1, values=values)
    assert plan.captions == ("go to shop", "mark home")  # .4 x .8 > .5 x .1; later steps start elsewhere
    assert seen == [({"point": 1, "home": 1, "shop": 1}, ("go to home", "go to shop"))]
    (message,) = record.messages("affordance")
    assert "'go to shop': 0.40 x 0.800^1 = 0.320" in message.text and message.payload["taken"] == "go to shop"
    with pytest.raises(LudusError, match="weighs skills by the critic's values"):
        lab.plans(record, round_=2, n=1)
    lab.curriculum.affordance = 0.0
    assert lab.plans(record, round_=2, n=1, values=values)[0].captions[0] == "go to home"
