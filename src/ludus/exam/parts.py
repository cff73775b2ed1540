"""The parts of the exam: each asks one role its questions and scores the answers. The part *write* is a module of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from ludus.exam.metrics import NO_ANSWER, Balanced, Confusion, Mean, Rate, Result, brier, calibration_error
from ludus.exam.questions import DIFFICULTIES, RETRIEVE_KINDS, ProposeItem
from ludus.exam.session import Session
from ludus.exam.simulator import Rollout, Simulator, at_end
from ludus.exam.write import write
from ludus.experimenter.effects import atoms
from ludus.experimenter.roles import (
    AnalyseQuestion,
    DecomposeQuestion,
    ProposeQuestion,
    RetrieveQuestion,
    Scene,
    check_proposal,
)
from ludus.skills.library import SkillLibrary
from ludus.types import Judgement, LudusError, Proposal, Verdict

EXECUTIONS = 4
"""Executions of each proposal, each with other noise."""
STOPS = ("converged", "stuck")


# --- propose -----------------------------------------------------------------------------------------------------


def propose(session: Session) -> Result:
    """Sound: it is a skill, or the built-in planner and matcher make an executable plan of it, and its goal does not hold
    yet. Executed by the robot that the skill statistics are of."""
    rows, rollouts = [], defaultdict(list)
    proposals = session.questions(
        "propose", session.question_set.propose, lambda who, q: check_proposal(who.propose(q))
    )
    for i, item, ask in proposals:
        simulator, stats = session.simulators[item.scene.n_blocks], item.robot.stats(item.library)
        scene = session.scene(item.scene)
        gaps = tuple(text for text, _ in item.gaps)
        question = ProposeQuestion(f"exam/propose/{i}", scene, stats, item.attempts, gaps, simulator.max_steps)
        proposal, error = ask(item.scene.n_blocks, question)
        row = {"question": i, "error": error, "executable": False, "open": False, "new": False, "outcomes": []}
        if proposal is not None:
            row |= asdict(proposal) | _judged(simulator, item, scene, proposal)
        if row["executable"] and row["open"]:
            for number in range(session.seed * EXECUTIONS, (session.seed + 1) * EXECUTIONS):
                rollout = Rollout(tuple(row["captions"]), item.scene.start, item.scene.seed, item.robot.noise, number)
                rollouts[item.scene.n_blocks].append((row, row["judged"], rollout))
        rows.append(row)
    for row, reached in _carried_out(session, rollouts):
        row["outcomes"].append(reached)
    stated = tuple((r["success_probability"], o) for r in rows for o in r["outcomes"])
    outcomes = [o for _, o in stated]
    mean = sum(outcomes) / len(outcomes) if outcomes else 0.0
    return Result(
        "propose",
        (
            Rate.of("sound and new", [r["executable"] and r["open"] and r["new"] for r in rows]),
            Rate.of("sound", [r["executable"] and r["open"] for r in rows]),
            Rate.of("executable", [r["executable"] for r in rows]),
            Rate.of("not true already", [r["open"] for r in rows]),
            Rate.of("new", [r["new"] for r in rows]),
            Rate.of(
                "at the frontier, of the sound", [0 < sum(r["outcomes"]) < EXECUTIONS for r in rows if r["outcomes"]]
            ),
            Rate.of("executions that reached it", outcomes),
            Rate.of(NO_ANSWER, [r["error"] is not None for r in rows]),
        ),
        (
            Mean("Brier score of P(success)", brier(stated), len(stated)),
            Mean("the same, had it always stated the mean outcome", mean * (1 - mean) if stated else None, len(stated)),
            Mean("expected calibration error", calibration_error(stated), len(stated)),
        ),
        stated=stated,
        answers=tuple(rows),
    )


def _judged(simulator: Simulator, item: ProposeItem, scene: Scene, proposal: Proposal) -> dict[str, Any]:
    """The goal is the proposal's own, where it is a condition of the language; else what its last skill achieves."""
    stats = item.robot.stats(item.library)
    plan = simulator.plan(scene, proposal, stats)
    if not simulator.fits(plan):
        plan = simulator.plan(
            scene, proposal, stats, [proposal.task]
        )  # one skill can be tried whatever the planner thinks
    fits = simulator.fits(plan)
    text = proposal.goal if simulator.condition(proposal.goal) is not None else None
    if text is None and fits:
        text = simulator.library[plan.captions[-1]].success
    goal, before = simulator.condition(text), {*item.gaps, *((t, g) for t, g, _ in item.history)}
    seen = {g: a[0] for g, a in simulator.look([(item.scene.start, item.scene.seed)]).items()}
    known = {frozenset(atoms(g, simulator.vocabulary)) for _, g in before}
    texts = {t.casefold() for t, _ in before}
    repeats = proposal.task.casefold() in texts or (goal is not None and frozenset(goal.conditions()) in known)
    return {
        "judged": text,
        "captions": list(plan.captions),
        "executable": fits,
        "open": goal is not None and not bool(goal.evaluate(seen)),
        "new": not repeats,
    }


# --- decompose ---------------------------------------------------------------------------------------------------


def decompose(session: Session) -> Result:
    """Right: the steps, with their skills by the built-in matcher, carried out by the teacher without noise, end with the
    goal reached."""
    rows, rollouts = [], defaultdict(list)
    for i, item, ask in session.questions(
        "decompose", session.question_set.decompose, lambda who, q: tuple(who.decompose(q))
    ):
        simulator, stats = session.simulators[item.scene.n_blocks], item.robot.stats(item.library)
        scene = session.scene(item.scene)
        proposal = Proposal(item.task, "asked for by a person", 0.5, item.goal if item.shown else None)
        question = DecomposeQuestion(f"exam/decompose/{i}", scene, proposal, stats, simulator.max_steps)
        steps, error = ask(item.scene.n_blocks, question)
        plan = simulator.plan(scene, proposal, stats, steps or ())
        row = {"question": i, "kind": item.kind, "error": error, "goal given": item.shown, "steps": list(steps or ())}
        row |= {"captions": [r.caption for r in plan.retrievals], "executable": simulator.fits(plan), "reached": False}
        rows.append(row)
        if row["executable"]:
            rollouts[item.scene.n_blocks].append(
                (row, item.goal, Rollout(plan.captions, item.scene.start, item.scene.seed))
            )
    for row, reached in _carried_out(session, rollouts):
        row["reached"] = reached
    kinds = dict.fromkeys(item.kind for item in session.question_set.decompose)
    return Result(
        "decompose",
        (
            Rate.of("goal reached", [r["reached"] for r in rows]),
            Rate.of("executable", [r["executable"] for r in rows]),
            Rate.of("reached, goal's expression given", [r["reached"] for r in rows if r["goal given"]]),
            Rate.of("reached, words only", [r["reached"] for r in rows if not r["goal given"]]),
            *(Rate.of(f"reached: {k}", [r["reached"] for r in rows if r["kind"] == k]) for k in kinds),
            Rate.of(NO_ANSWER, [r["error"] is not None for r in rows]),
        ),
        answers=tuple(rows),
    )


def _carried_out(
    session: Session, rollouts: Mapping[int, Sequence[tuple[dict[str, Any], str | None, Rollout]]]
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Per number of blocks `(row, goal, rollout)` -> each row, and whether its goal holds at the end."""
    for n_blocks, given in rollouts.items():
        simulator = session.simulators[n_blocks]
        for (row, text, _), episode in zip(given, simulator.run([rollout for _, _, rollout in given]), strict=True):
            goal = simulator.condition(text)
            yield row, goal is not None and at_end(goal, episode)


# --- retrieve ----------------------------------------------------------------------------------------------------

MATCHES = ("right", "other objects", "other skill", "none fits", NO_ANSWER)


def retrieve(session: Session) -> Result:
    """Right: one of the captions that mean the step, or 'none fits' where no skill does."""
    rows = []
    for i, item, ask in session.questions("retrieve", session.question_set.retrieve, lambda who, q: who.retrieve(q)):
        stats = session.question_set.robot("middling", item.n_blocks).stats(item.library)
        scene = session.scene(session.question_set.scene_of[item.n_blocks])
        found, error = ask(item.n_blocks, RetrieveQuestion(f"exam/retrieve/{i}", item.step, scene, stats))
        library = session.simulators[item.n_blocks].library
        match = NO_ANSWER if found is None else _match(library, item.captions, found.caption)
        row = {"question": i, "kind": item.kind, "step": item.step, "truth": item.captions, "match": match}
        rows.append(row | {"answer": found and found.caption, "missing": found and found.missing, "error": error})
    right = [r["match"] == "right" for r in rows]
    return Result(
        "retrieve",
        (
            Rate.of("right", right),
            *(Rate.of(k, [x for x, r in zip(right, rows, strict=True) if r["kind"] == k]) for k in RETRIEVE_KINDS),
            Rate.of(NO_ANSWER, [r["error"] is not None for r in rows]),
        ),
        confusion=Confusion.of(RETRIEVE_KINDS, MATCHES, [(r["kind"], r["match"]) for r in rows]),
        answers=tuple(rows),
    )


def _match(library: SkillLibrary, truth: Sequence[str], answer: str | None) -> str:
    if answer is None:
        return "none fits" if truth else "right"
    if answer in truth:
        return "right"
    return "other objects" if library.template(answer) in {library.template(c) for c in truth} else "other skill"


# --- analyse -----------------------------------------------------------------------------------------------------

TRUTHS = ("converged", "learning", "stuck")
JUDGEMENTS = (*TRUTHS, "unclear", NO_ANSWER)
UNDECIDED = 1 / 3
"""Brier score of 'unclear' among three judgements: each is given a third, and half the sum of squares is (4 + 1 + 1) / 9 / 2."""


def analyse(session: Session) -> Result:
    """Right: the judgement that the rest of the training bears out. 'unclear' is not right, nor is it a wrong stop; its
    probabilities are a third each. A judgement stated at p leaves (1 - p) / 2 for each of the other two."""
    rows = []
    for i, item, ask in session.questions(
        "analyse", session.question_set.analyse, lambda who, q: _checked(who.analyse(q))
    ):
        verdict, error = ask(3, AnalyseQuestion(f"exam/analyse/{i}", item.curve, session.plot(i, item)))
        row = {"question": i, "truth": item.truth, "difficulty": item.difficulty, "error": error}
        row |= {"answer": verdict.judgement if verdict else NO_ANSWER}
        rows.append(row | {"probability": verdict and verdict.probability, "why": verdict and verdict.why})
    judged = [r for r in rows if r["answer"] in TRUTHS]
    stated = tuple((r["probability"], r["answer"] == r["truth"]) for r in judged)

    def right(**wanted: str) -> list[bool]:
        return [r["answer"] == r["truth"] for r in rows if all(r[k] == v for k, v in wanted.items())]

    stopped = [(r["truth"], r["answer"] in STOPS) for r in rows]
    by_truth = [Rate.of(f"right: {t}", right(truth=t)) for t in TRUTHS]
    squares = [three_way_brier(p, is_right) for p, is_right in stated] + [UNDECIDED] * (len(rows) - len(judged))
    return Result(
        "analyse",
        (
            Balanced.over("right, mean over the truths", by_truth),
            Rate.of("right", right()),
            Rate.of("right, of those judged", [is_right for _, is_right in stated]),
            Rate.of("unclear", [r["answer"] == "unclear" for r in rows]),
            Rate.of("premature stops, of those still learning", [s for t, s in stopped if t == "learning"]),
            Rate.of("late stops, of those converged or stuck", [not s for t, s in stopped if t != "learning"]),
            *(Rate.of(f"right: {d}", right(difficulty=d)) for d in DIFFICULTIES),
            *by_truth,
            Rate.of(NO_ANSWER, [r["error"] is not None for r in rows]),
        ),
        (
            Mean("Brier score of three judgements", sum(squares) / len(squares), len(squares)),
            Mean("expected calibration error", calibration_error(stated), len(stated)),
        ),
        Confusion.of(TRUTHS, JUDGEMENTS, [(r["truth"], r["answer"]) for r in rows]),
        stated,
        tuple(rows),
    )


def three_way_brier(probability: float, right: bool) -> float:
    """Half the sum of squared errors over three judgements: 0 for right at probability 1, 1 for wrong at probability 1."""
    rest = (1 - probability) / 2
    if right:
        return ((1 - probability) ** 2 + 2 * rest**2) / 2
    return (probability**2 + (1 - rest) ** 2 + rest**2) / 2


def _checked(verdict: Verdict) -> Verdict:
    if verdict.judgement not in get_args(Judgement):
        raise LudusError(f"judgement {verdict.judgement!r} is none of {', '.join(get_args(Judgement))}")
    if not 0 <= verdict.probability <= 1:
        raise LudusError(f"probability {verdict.probability!r} of a verdict is not in [0, 1]")
    return verdict


PARTS: dict[str, Callable[[Session], Result]] = {
    "propose": propose,
    "decompose": decompose,
    "retrieve": retrieve,
    "analyse": analyse,
    "write": write,
}
