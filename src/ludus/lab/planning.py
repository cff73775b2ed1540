"""Makes, prefetches and records the plans of each round and the outcomes of their execution.

Steps of the record: `round/N/ahead` (what is known when the plans of round N are first asked for), `round/N/plan` (plans) and
`round/N/outcomes` (attempts). A step that was committed is not run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

from ludus.config import Config
from ludus.experimenter.chaining import AT_ONCE
from ludus.experimenter.effects import left_by, relations
from ludus.experimenter.ledger import Withdrawn
from ludus.experimenter.roles import Attempt, SkillStats
from ludus.lab.analysis import latest_counts
from ludus.lab.context import PlanContext, achieved, attempts_of, skill_stats
from ludus.lab.curriculum import Curriculum, Values
from ludus.lab.embodiment import look
from ludus.lab.growth import open_gaps
from ludus.lab.interventions import UNWATCHED, NullOverseer, Overseer, approval
from ludus.lab.oversight import APPROVAL
from ludus.lab.prefetch import Prefetch
from ludus.lab.room import Room, remarks
from ludus.record import Record
from ludus.record.progress import Progress
from ludus.seeding import child
from ludus.skills.expression import condition
from ludus.skills.library import SkillLibrary
from ludus.types import Episode, Plan
from ludus.worlds.base import World


def start_seeds(config: Config, n: int) -> list[int]:
    """Seeds of the starts of round n's episodes; the first `plans_per_round` are the scenes that are planned for."""
    return [child(config.seed, f"round/{n}", "start", i) for i in range(config.experiment.episodes_per_round)]


def history(record: Record) -> list[Attempt]:
    """Attempts of all rounds whose outcomes are committed."""
    done = [s.name for s in record.steps() if s.name.startswith("round/") and s.name.endswith("/outcomes")]
    return [Attempt(**a) for step in done for a in record.result(step)["attempts"]]


class Planning:
    """Plans of one run. Its only state is which rounds are being asked for in the background."""

    def __init__(
        self,
        curriculum: Curriculum,
        record: Record,
        world: World,
        config: Config,
        progress: Progress | None = None,
        replayed_remarks: Mapping[int, tuple[str, ...]] | None = None,
        overseer: Overseer | NullOverseer = UNWATCHED,
    ) -> None:
        """
        Args:
            replayed_remarks: round -> what people said, of the run that this one replays; None: what they say in this one.
        """
        self._curriculum, self._record, self._world, self._config = curriculum, record, world, config
        self._progress = progress or Progress()
        self._replayed_remarks, self._overseer = replayed_remarks, overseer
        self._prefetched: dict[int, tuple[PlanContext, Prefetch]] = {}

    def plans(self, n: int, library: SkillLibrary, values: Values | None = None) -> list[Plan]:
        """The plans of round n, those with a gap included.

        Args:
            values: the critic's values, needed with `experimenter.affordance`.

        Raises:
            Withdrawn: the run was told to stop meanwhile.
            LudusError: see `Curriculum.plans`.
        """
        step, record = f"round/{n}/plan", self._record
        if not record.done(step):
            self._ask(n, n + max(1, self._config.experimenter.prefetch) - 1, library)
            context, prefetch = self._prefetched.pop(n, None) or (self._context(n, library), None)
            with record.commit(step) as opened:
                plans, withdrawn = list[Plan](), None
                with self._progress.stage(f"round {n}: planning", 1):
                    if prefetch is not None:
                        prefetch.wait()
                    said = {"asked": self._overseer.asked(n), "refusal": self._overseer.refusal()}  # until now
                    try:
                        plans = self._curriculum.plans(replace(context, **said), values)
                    except Withdrawn as error:  # nothing is planned any more, so this stage is over
                        withdrawn = error
                if withdrawn is not None:
                    raise withdrawn
                for plan in plans:
                    record.add_plan(n, plan)
                if held := self._held(plans, library):
                    opened.result = {"held": held}
        return [plan for _, plan in record.plans(n)]

    def prefetch(self, n: int, library: SkillLibrary) -> None:
        """Begin to ask for the plans of the `experimenter.prefetch` rounds after n, while the robots of round n move."""
        self._ask(n + 1, n + self._config.experimenter.prefetch, library)

    def tell(self, n: int, plans: Sequence[Plan], library: SkillLibrary, load: Callable[[str], Episode]) -> None:
        """Post and store the outcomes of the plans that were executed in round n.

        Args:
            load: the stored episode of an id.
        """
        step, record = f"round/{n}/outcomes", self._record
        if record.done(step):
            return
        with record.commit(step) as opened:
            outcomes = record.outcomes(f"round/{n}/collect")
            episodes = [load(id) for id in sorted({o.episode for o in outcomes})]
            attempts = attempts_of(plans, episodes, outcomes, library.vocabulary, n)
            self._curriculum.tell(attempts, plans)
            opened.result = {"attempts": [asdict(a) for p in plans for a in attempts.get(p.id, ())]}

    def _ask(self, first: int, last: int, library: SkillLibrary) -> None:
        """Begin to ask for the plans of these rounds. What they are based on is committed first and knows nothing of what
        comes later, so that a run does not depend on how fast a model is."""
        if not self._curriculum.experimenter.is_remote:
            return
        for n in range(first, min(last, self._overseer.rounds or self._config.experiment.rounds) + 1):
            if n in self._prefetched or self._record.done(f"round/{n}/plan"):
                continue
            step = f"round/{n}/ahead"
            if not self._record.done(step):
                with self._record.commit(step) as opened:
                    stats, attempts, gaps, seek_gap = self._known(library)
                    opened.result = {
                        "seek_gap": seek_gap,
                        "cards": [asdict(s) for s in stats],
                        "history": [asdict(a) for a in attempts],
                        "gaps": gaps,
                    }
                    if said := self._remarks(n):
                        opened.result["remarks"] = list(said)
                    if vetoed := self._overseer.vetoed:
                        opened.result["refused"] = list(vetoed)
            context = self._context(n, library)
            self._prefetched[n] = context, self._curriculum.prefetch(context)

    def _context(self, n: int, library: SkillLibrary) -> PlanContext:
        """What round n's plans are based on: what was known when they were first asked for, and the round's scenes."""
        step = f"round/{n}/ahead"
        scenes = look(self._world, start_seeds(self._config, n)[: self._config.experiment.plans_per_round])
        if self._record.done(step):
            kept = self._record.result(step)
            stats = [SkillStats(**c | {"recent": tuple(c["recent"])}) for c in kept["cards"]]
            attempts, gaps, seek_gap = [Attempt(**a) for a in kept["history"]], kept["gaps"], kept["seek_gap"]
            said, vetoed = (tuple(kept.get(name, ())) for name in ("remarks", "refused"))
        else:
            stats, attempts, gaps, seek_gap = self._known(library)
            said, vetoed = self._remarks(n), self._overseer.vetoed
        context = self._curriculum.context(n, scenes, library.vocabulary, stats, attempts, gaps, seek_gap)
        return replace(context, remarks=said, refused=vetoed, refusal=self._overseer.refusal())

    def _held(self, plans: Sequence[Plan], library: SkillLibrary) -> dict[str, str]:
        """Ids of the plans that wait for approval -> which rule forbids them. Says so in the room."""
        limits, held = self._config.oversight, dict[str, str]()
        for plan in (p for p in plans if limits.ask and not p.gaps):
            successes = (library[c].success for c in plan.captions)
            why = self._overseer.broken(plan.proposal.goal, *successes)
            if why is not None:
                held[plan.id] = why
                text = approval(f"{plan.id} ({plan.proposal.task!r}: {why})", plan.id, limits)
                Room(self._record).post("oversight", "all", APPROVAL, text, payload={"plan": plan.id})
        return held

    def _remarks(self, n: int) -> tuple[str, ...]:
        return remarks(self._record) if self._replayed_remarks is None else self._replayed_remarks.get(n, ())

    def _known(self, library: SkillLibrary) -> tuple[Sequence[SkillStats], list[Attempt], list[str], bool]:
        """`(what is known of each skill, attempts, tasks with a gap, whether one is sought)` as the record stands."""
        record = self._record
        dropped = {s["caption"] for s in record.skills() if s["status"] == "dropped"}
        stats = skill_stats(library, latest_counts(record.evaluations("curve")), record.outcomes("round"))
        known = SkillLibrary(library.vocabulary, [s for s in library if s.caption not in dropped])
        gaps = [p.proposal.task for _, p in record.plans() if p.gaps and not _filled(p, known)]
        practised = {library.template(s["caption"]) for s in record.skills() if s["status"] == "practising"}
        room = self._config.experiment.max_practising - len(practised)
        return (
            [s for s in stats if s.caption not in dropped],
            history(record),
            gaps,
            room > len(open_gaps(record, library)),
        )


def _filled(plan: Plan, library: SkillLibrary) -> bool:
    """Whether these skills bring about all that the plan's goal demands; where it is to be done at once, whether its relations
    stand after one of them."""
    goal = condition(plan.proposal.goal, library.vocabulary)
    if goal is None:
        return False
    demanded = set(goal.conditions())
    if any(gap.step.startswith(AT_ONCE) for gap in plan.gaps):
        return any(relations(demanded) <= left_by(s, library.vocabulary) for s in library)
    return demanded <= achieved(library)
