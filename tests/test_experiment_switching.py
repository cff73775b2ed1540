"""Plans measured and carried out with fixed durations and conditionally: `ludus eval --plan` and the rounds of a run."""

import pytest
from counting_world import CountingWorld, Walker

from ludus import config as configs
from ludus.cli.eval import Eval
from ludus.config import preset
from ludus.data.relabel import outcomes as relabelled
from ludus.data.store import EpisodeStore
from ludus.experiment.evaluation import EvalRequest, Trial, as_json
from ludus.lab.embodiment import run
from ludus.lab.program import parse
from ludus.lab.rollout import RolloutSpec, switching_of
from ludus.record.progress import Progress
from ludus.types import LudusError
from ludus.worlds.registry import WorldKind

KIND = WorldKind(lambda c: CountingWorld(), lambda spec: None, lambda objects: ())


def measure(start="far", **request):
    world = CountingWorld(8)
    trial = Trial.of(world.library(), world, KIND, EvalRequest(episodes=20, **request), Progress(None, None))
    return trial.run(start, 0.0, Walker(world))  # type: ignore[arg-type]  # a scripted actor in the policy's place


def test_the_same_plan_is_reached_sooner_when_skills_end_on_success():
    plan = ("go to home", "mark home", "go to shop")
    fixed, free = measure("there", plan=plan), measure("there", plan=plan, switching="conditional")
    assert [(c.caption, c.n) for c in fixed.steps] == [(c, 20) for c in plan] == [(c.caption, c.n) for c in free.steps]
    assert fixed.pace is not None and free.pace is not None
    assert fixed.pace.episode_s == 2.7 and fixed.pace.switches == free.pace.switches == 2
    assert free.pace.episode_s < 2.7 and free.pace.success_s < fixed.pace.success_s
    assert free.skills[0].successes >= fixed.skills[0].successes > 0
    assert as_json([free])[0]["pace"]["switches"] == 2 and "pace" not in as_json([measure()])[0]


def test_a_program_counts_each_caption_as_often_as_it_was_told():
    program = parse("repeat until marked(home) at most 3 times { if not at(home) { go to home }; mark home }")
    result = measure(program=program, switching="conditional", skills=("mark home",))
    told = {c.caption: c.n for c in result.steps}
    assert told["mark home"] >= 20 and set(told) == {"go to home", "mark home"}
    there = measure("there", program=program, switching="conditional")
    assert {c.caption for c in there.steps} == {"mark home"} and there.skills[0].successes == 20


def test_what_makes_no_sense_is_refused():
    with pytest.raises(LudusError, match="--switching conditional is about plans"):
        measure(switching="conditional")
    with pytest.raises(LudusError, match="unknown object 'hom'"):
        measure(program=parse("if at(hom) { go to home }"))
    with pytest.raises(LudusError, match="unknown skill"):
        measure(program=parse("if at(home) { fly home }"))


def test_the_command_line_reads_captions_and_programs():
    assert Eval(plan=(("go to home, mark home", "go to shop"),))._spec().plan == (
        "go to home",
        "mark home",
        "go to shop",
    )
    spec = Eval(plan=(("if on(red, green) { lift red }",), ("lift green",)), switching="conditional")._spec()
    assert spec.program == parse("if on(red, green) { lift red }; lift green")
    assert (spec.plan, spec.switching) == ((), "conditional")
    with pytest.raises(LudusError, match="without its"):
        Eval(plan=(("if on(red, green) { lift red",),))._spec()


def test_episodes_of_any_length_are_stored_scored_and_sampled(tmp_path):
    world, config = CountingWorld(4), preset("tiny")
    library, program = world.library(), parse("repeat until marked(shop) at most 2 times { go to shop; mark shop }")
    rule = switching_of("conditional")
    rollouts = [RolloutSpec(("go to home", "mark home"), i, "there", switching=rule) for i in range(6)]
    rollouts += [RolloutSpec(("go to shop", "mark shop"), i, program=program, switching=rule) for i in range(6)]
    episodes, outcomes = run(world, library, rollouts, Walker(world, 0.3), "e")
    assert len({e.n_steps for e in episodes}) > 2
    store = EpisodeStore.create(tmp_path / "run", config)
    store.append(episodes, step="seed/0")
    stored = sorted(store, key=lambda e: e.id)
    assert [e.segments for e in stored] == [e.segments for e in episodes]
    assert [e.info for e in stored] == [e.info for e in episodes]
    again = relabelled(library, stored)
    assert [(o.episode, o.segment, o.success_at_end) for o in again] == [
        (o.episode, o.segment, o.success_at_end) for o in outcomes
    ]


def test_the_setting():
    assert preset("cpu").experiment.switching == "fixed"
    changed = configs.override(preset("tiny"), ["experiment.switching=conditional"])
    assert changed.experiment.switching == "conditional"
    with pytest.raises(LudusError, match="switching"):
        configs.override(preset("tiny"), ["experiment.switching=sometimes"])
