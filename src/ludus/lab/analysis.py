"""The analysis module: success rates with intervals, learning curves, verdicts on them, and when training may stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ludus.experimenter.curves import judge_family
from ludus.experimenter.roles import AnalyseQuestion, Experimenter, NoAnswer
from ludus.lab.prefetch import concurrently
from ludus.lab.room import Room
from ludus.record import Evaluation
from ludus.skills.library import SkillLibrary
from ludus.skills.names import ObjectNames
from ludus.types import Curve, LudusError, SuccessCount, Verdict

Plot = Callable[[str, Curve], str | None]
"""`(name, curve) -> path of the plot relative to the run directory`, None where none was made."""


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a success rate (Wilson 1927); 95 % by default. No trials give (0, 1).

    Raises:
        LudusError: successes not in 0..n.
    """
    if not 0 <= successes <= n:
        raise LudusError(f"{successes} successes in {n} trials: must be between 0 and the number of trials")
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, z * z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    # exact ends: rounding must not turn the bound of 0/n or n/n into 1e-17 or 1 - 1e-16
    return (0.0 if successes == 0 else max(0.0, centre - half)), (1.0 if successes == n else min(1.0, centre + half))


def add_point(curve: Curve | None, updates: int, count: SuccessCount) -> Curve:
    """The curve with one more evaluation; a point at or before the last one's updates is already there and ignored."""
    if curve is None:
        return Curve(count.caption, (updates,), (count.successes,), (count.n,))
    if curve.updates and updates <= curve.updates[-1]:
        return curve
    return Curve(curve.caption, (*curve.updates, updates), (*curve.successes, count.successes), (*curve.n, count.n))


def latest_counts(evaluations: Sequence[Evaluation]) -> list[SuccessCount]:
    """Counts of the last of these evaluations: the last point of every skill's learning curve. None: no counts."""
    return [e.count for e in evaluations if e.update == evaluations[-1].update]


def aggregate(counts: Sequence[SuccessCount], names: SkillLibrary | ObjectNames) -> list[SuccessCount]:
    """Counts added up per template: captions that differ only in the objects they mention ('stack X on Y')."""
    groups: dict[str, list[SuccessCount]] = {}
    for count in counts:
        groups.setdefault(names.template(count.caption), []).append(count)
    return [
        SuccessCount(name, name, sum(t.n for t in ts), sum(t.successes for t in ts), sum(t.successes_once for t in ts))
        for name, ts in groups.items()
    ]


def curves_of(evaluations: Iterable[Evaluation], library: SkillLibrary) -> list[Curve]:
    """One learning curve per template ('stack X on Y'), in the order of the templates' first point: the counts of the
    skills of a template are added up at each update.

    Args:
        evaluations: points of skills; those of one update together, updates ascending.
    """
    counts: dict[int, list[SuccessCount]] = {}
    for evaluation in evaluations:
        counts.setdefault(evaluation.update, []).append(evaluation.count)
    curves: dict[str, Curve] = {}
    for update, members in counts.items():
        for count in aggregate(members, library):
            curves[count.caption] = add_point(curves.get(count.caption), update, count)
    return list(curves.values())


def members_of(evaluations: Iterable[Evaluation], library: SkillLibrary) -> dict[str, tuple[Curve, ...]]:
    """Template -> the curves of its skills, where it has more than one. See `curves_of`."""
    curves: dict[str, Curve] = {}
    for e in evaluations:
        curves[e.count.caption] = add_point(curves.get(e.count.caption), e.update, e.count)
    members: dict[str, list[Curve]] = {}
    for caption, curve in curves.items():
        members.setdefault(library.template(caption), []).append(curve)
    return {template: tuple(found) for template, found in members.items() if len(found) > 1}


def stop(verdicts: Sequence[Verdict], statistical: Sequence[Verdict] = ()) -> bool:
    """Whether training may stop: the analyst says of each skill that it has converged or is stuck, and the statistical judge
    says of none that it is learning. Without verdicts it goes on."""
    settled = bool(verdicts) and all(v.judgement in ("converged", "stuck") for v in verdicts)
    return settled and not any(v.judgement == "learning" for v in statistical)


@dataclass(frozen=True)
class Judged:
    """What was said of the curves, in their order."""

    verdicts: tuple[Verdict, ...]
    """The analyst's, whoever that is."""
    statistical: tuple[Verdict, ...]
    """The built-in judge's on the same questions."""

    @property
    def stop(self) -> bool:
        """See `stop`."""
        return stop(self.verdicts, self.statistical)

    @property
    def disagreements(self) -> list[tuple[Verdict, Verdict]]:
        """`(analyst's, statistical)` where the judgements differ."""
        pairs = zip(self.verdicts, self.statistical, strict=True)
        return [(v, s) for v, s in pairs if v.judgement != s.judgement]


@dataclass(frozen=True)
class Background:
    """What is known of the skills behind pooled curves, by the curve's caption."""

    members: Mapping[str, tuple[Curve, ...]]
    practised: Mapping[str, int]
    """Episodes in which a robot was told to do one of its skills. Empty: not known of any; else 0 for those not in it."""


NOTHING_KNOWN = Background({}, {})


class Analysis:
    """Asks the analyst about each curve and posts questions and verdicts."""

    def __init__(self, experimenter: Experimenter, room: Room, plot: Plot | None = None) -> None:
        self.experimenter = experimenter
        self.room = room
        self.plot = plot

    def judge(self, curves: Sequence[Curve], background: Background = NOTHING_KNOWN) -> Judged:
        """One verdict per curve, in order; posts each of them and, at the end, whether training may stop. A curve that the
        analyst cannot judge is 'unclear'. Beside each stands the verdict of the built-in judge, which costs nothing and
        shows how good the analyst's are.

        Call it inside a step of the record: messages are keyed by it.
        """
        questions = [self._question(i, curve, background) for i, curve in enumerate(curves)]
        verdicts = (
            concurrently(self._verdict, questions)
            if self.experimenter.analyst_is_remote
            else [self._verdict(q) for q in questions]
        )
        statistical = (judge_family(q.curve, q.members, q.practised) for q in questions)
        judged = Judged(tuple(verdicts), tuple(statistical))
        for question, verdict, second in zip(questions, judged.verdicts, judged.statistical, strict=True):
            self._post(question, verdict, second)
        if questions:
            self.room.post("analysis", "all", "decision", _decision(judged), payload={"stop": judged.stop})
        return judged

    def _question(self, i: int, curve: Curve, background: Background) -> AnalyseQuestion:
        step, practised = self.room.step, background.practised
        path = self.plot(f"{step.replace('/', '-')}-curve-{i}", curve) if self.plot else None
        return AnalyseQuestion(
            f"{step}/analyse/{i}",
            curve,
            (path,) if path else (),
            background.members.get(curve.caption, ()),
            practised.get(curve.caption, 0) if practised else None,
        )

    def _post(self, question: AnalyseQuestion, verdict: Verdict, second: Verdict) -> None:
        curve = question.curve
        points = ", ".join(f"{s}/{n}" for s, n in zip(curve.successes, curve.n, strict=True))
        self.room.post(
            "analysis",
            "experimenter",
            "curve",
            f"Has the training of {curve.caption!r} converged? Successes so far: {points or 'none yet'}.",
            question.images,
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(curve).items()},
        )
        said = f"{curve.caption!r}: {verdict.judgement} ({verdict.probability:.0%}). {verdict.why}."
        payload = asdict(verdict)
        if second != verdict:
            said += f" The statistical judge says: {second.judgement} ({second.probability:.0%})."
            payload |= {"statistical": asdict(second), "update": max(curve.updates, default=0)}
        self.room.post("experimenter", "analysis", "verdict", said, payload=payload)

    def _verdict(self, question: AnalyseQuestion) -> Verdict:
        try:
            return self.experimenter.analyse(question)
        except NoAnswer as error:
            return Verdict(question.curve.caption, "unclear", 0.5, str(error))


def _decision(judged: Judged) -> str:
    if judged.stop:
        return "Training may stop: every skill has converged or is stuck."
    going = [v.caption for v in judged.verdicts if v.judgement in ("learning", "unclear")]
    if not going:
        vetoed = ", ".join(s.caption for _, s in judged.disagreements if s.judgement == "learning")
        return f"More training is worth it: the analyst would stop, but the statistical judge sees these learning: {vetoed}."
    return f"More training is worth it for {len(going)} of {len(judged.verdicts)} skills: {', '.join(going)}."
