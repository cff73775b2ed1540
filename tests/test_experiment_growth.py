"""What joins, and what stops, within a run: in one process, with scripted roles."""

import dataclasses
from collections import Counter

import pytest
from quick import quick_skills

from ludus.config import override, preset
from ludus.data.sampler import Sampler
from ludus.experiment import loop
from ludus.experiment.compose import compose
from ludus.experiment.library import recorded_library
from ludus.experimenter import assemble
from ludus.experimenter.context import RoleContext
from ludus.lab.acceptance import Acceptance, most_rounds
from ludus.lab.analysis import Analysis
from ludus.lab.curriculum import Curriculum
from ludus.lab.gate import GateDecision
from ludus.lab.room import Room
from ludus.record import Record
from ludus.types import Proposal, Retrieval, Verdict
from ludus.worlds.blocks.world import BlocksWorld

SMALL = (
    *("world.n_envs=16", "seed_data.episodes=8", "training.updates=8", "training.evaluate_every=8"),
    *("training.evaluation_episodes=1", "training.round_updates=4", "experiment.rounds=1"),
    *("experiment.episodes_per_round=8", "experiment.final_episodes=1", "experiment.practise_below=0"),
)
GAP = "put red beside green"


def wants_what_no_skill_does(question):
    """Asks for a skill that is missing, once; then for one that is there."""
    if question.key.endswith("s0-a0/propose"):
        return Proposal(GAP, "nobody can yet", 0.5, "beside(red, green)")
    return Proposal("reach red", "easy", 0.5, "near(red)")


def knows_captions_only(question):
    known = question.step in {s.caption for s in question.skills}
    return Retrieval(question.step, question.step if known else None, None if known else question.step)


@pytest.fixture
def run(tmp_path, one_thread, monkeypatch):
    """`run(*settings, judgement)` carries out a small experiment with scripted roles; returns its record, to look at."""
    records = []
    monkeypatch.setattr("ludus.worlds.blocks.world.base_skills", quick_skills)
    monkeypatch.setattr("ludus.lab.gate.MOST_FOCUS", 1)  # what its looks find is not asked for

    def carry_out(*settings, judgement="unclear"):
        def judged(question):
            return judgement(question) if callable(judgement) else judgement

        config = override(preset("tiny"), (*SMALL, *settings))
        with Record.create(tmp_path / f"run-{len(records)}", config) as record, compose(record) as experiment:
            roles = dataclasses.replace(
                assemble(RoleContext(experiment.world.vocabulary)),
                propose=wants_what_no_skill_does,
                decompose=lambda question: (question.proposal.task,),
                retrieve=knows_captions_only,
                analyse=lambda question: Verdict(question.curve.caption, judged(question), 0.9, "scripted"),
            )
            room = Room(record)
            curriculum = Curriculum(roles, room, experiment.world.spec, config.seed)
            scripted = dataclasses.replace(experiment, curriculum=curriculum, analysis=Analysis(roles, room))
            loop.run(scripted)
        records.append(Record.open(record.directory, write=False))
        return records[-1]

    yield carry_out
    for record in records:
        record.close()


def test_a_gap_becomes_a_skill_that_is_checked_practised_trained_on_and_settled(run, monkeypatch):
    labels, draw, pretrained = Counter(), Sampler.next, set()

    def counted(sampler):
        batch = draw(sampler)
        labels.update(sampler.captions[i] for i in batch.skills)
        if sum(labels.values()) <= 8 * len(batch.skills):  # the updates before the first round
            pretrained.update(labels)
        return batch

    monkeypatch.setattr(Sampler, "next", counted)
    record = run("sampling.commanded_ratio=0.4", "sampling.hindsight_ratio=0", "experiment.rounds=2")
    joined = [s for s in record.skills() if s["round"] == 1]
    assert {s["caption"] for s in joined} == {GAP, "put green beside red"}
    assert {s["author"] for s in joined} == {"planner"} and all("lift" in " ".join(s["parents"]) for s in joined)
    assert {s["status"] for s in joined} == {"practising"}
    assert all(labels[s["caption"]] > 0 for s in joined)
    assert GAP in pretrained  # by accident it is in the seed data, too
    assert GAP in {e.count.caption for e in record.evaluations("before")}
    world = BlocksWorld(2, 1, 1)
    assert {s["caption"] for s in joined} <= set(recorded_library(record, world).captions)
    (gap,) = record.result("round/1/grow")["gaps"]
    assert [c["name"] for c in gap["tried"][-1]["checks"]] and all(c["passed"] for c in gap["tried"][-1]["checks"])
    for n in (1, 2):
        told = [o.caption for o in record.outcomes(f"round/{n}/practice")]
        assert {GAP, "put green beside red"} & set(told)
        settled = record.result(f"round/{n}/settle")
        assert [s["status"] for s in settled["skills"]] == ["practising"] and settled["skills"][0]["rounds"] == n


@pytest.mark.parametrize(
    ("settings", "first"), [((), "round/1/plan"), (("experiment.max_practising=0",), "pretrain/train/000")]
)
def test_the_first_tasks_come_before_the_training_where_the_library_can_grow(run, settings, first):
    steps = [s.name for s in run(*settings).steps()]
    assert min(("round/1/plan", "pretrain/train/000"), key=steps.index) == first
    assert steps.count("round/1/plan") == 1 and "measure/after" in steps


def test_a_skill_that_is_not_learned_in_time_is_dropped_and_proposed_no_more(run):
    record = run("experiment.practice_rounds=1", "experiment.rounds=2")
    assert {s["status"] for s in record.skills() if s["round"] == 1} == {"dropped"}
    assert record.result("round/2/grow") == {"gaps": [], "practice": {"ways": {}, "rehearsed": {}, "exploration": 0.0}}
    assert record.outcomes("round/1/practice") and not record.outcomes("round/2/practice")


def test_a_skill_whose_curve_is_stuck_is_dropped_sooner(run):
    settings = "experiment.practice_rounds=4", "experiment.rounds=3", "training.early_stop=false"
    record = run(*settings, judgement="stuck")
    assert {s["changed"] for s in record.skills() if s["status"] == "dropped"} == {2}
    assert [most_rounds(j, 4) for j in ("stuck", "unclear", "converged", "learning")] == [2, 4, 4, 24]
    assert most_rounds("learning", 30) == 30


def test_an_unclear_round_does_not_end_the_practice_of_a_skill_that_was_learning(run):
    def judgement(question):
        return "learning" if len(question.curve.n) <= 2 else "unclear"  # before the first round, and in it

    record = run(
        "experiment.practice_rounds=2", "experiment.rounds=2", "training.early_stop=false", judgement=judgement
    )
    settled = [record.result(f"round/{n}/settle")["skills"][0] for n in (1, 2)]
    assert [s["status"] for s in settled] == ["practising", "practising"]
    assert {v.judgement for _, _, v in record.verdicts(2) if v.caption == "put X beside Y"} == {"unclear"}


def test_the_gate_may_look_four_times_while_skills_are_practised(run, monkeypatch):
    from ludus.experiment import settling

    looks, errors = [], set()

    def undecided(counts, accepted, look, settings, **_):
        looks.append(look)
        errors.add(settings.false_promotion)
        return GateDecision(False if look == 4 else None, "scripted", 0.0, (), ("put X beside Y",))

    monkeypatch.setattr(settling, "decide", undecided)
    run("experiment.false_promotion=0.02")
    assert looks == [1, 2, 3, 4] and errors == {0.02}


def test_the_rounds_end_when_enough_was_accepted(run, monkeypatch):
    from ludus.experiment import settling

    def good(looks, *_):
        return Acceptance(True, "scripted", 1, 1.0, (1.0, 1.0), 9.0, ())

    monkeypatch.setattr(settling, "accept", good)
    monkeypatch.setattr(settling.Settling, "_compare", lambda self, *_: decided)
    decided = GateDecision(True, "scripted", 9.0, (), ())

    def rounds(record):
        return [s.name for s in record.steps() if s.name.endswith("/settle")]

    assert rounds(run("experiment.rounds=3")) == ["round/1/settle"]
    assert len(rounds(run("experiment.rounds=2", "experiment.stop_after=2"))) == 2
    assert len(rounds(run("experiment.rounds=2", "experiment.stop_after=0"))) == 2


def test_the_analysis_ends_a_training_early(run):
    def chunks(record):
        return [s.name for s in record.steps() if s.name.startswith("pretrain/train/")]

    short = ("training.evaluate_every=2", "experiment.rounds=0")
    assert len(chunks(run(*short))) == 4
    assert len(chunks(run(*short, judgement="converged"))) == 1
    assert len(chunks(run(*short, "training.early_stop=false", judgement="converged"))) == 4
    unmeasured = run(*short, "training.evaluation_episodes=0", judgement="stuck")
    assert len(chunks(unmeasured)) == 4
