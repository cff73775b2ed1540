"""Growth: capability gaps become candidate skills, which are checked and then practised.

Step of the record: `round/N/grow`. Its result keeps every candidate that was written, by whom, for which gap, with all checks,
and what is practised in the round; so a run can be resumed, and a skill's origin read, from the record alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

from ludus.config import Config
from ludus.experimenter.chaining import GAP
from ludus.experimenter.effects import closure, denied
from ludus.experimenter.roles import Experimenter, NoAnswer, Rejection, Scene, SkillStats, WriteQuestion
from ludus.lab.approach import find_approaches
from ludus.lab.context import achieved
from ludus.lab.interventions import UNWATCHED, NullOverseer, Overseer, approval
from ludus.lab.oversight import APPROVAL
from ludus.lab.practice import Practice, grow_steps, way_to
from ludus.lab.room import Room
from ludus.record import Record
from ludus.record.progress import Progress
from ludus.record.reader import Reader
from ludus.skills.candidate import Candidate, members
from ludus.skills.expression import atom_text, condition
from ludus.skills.library import SkillLibrary
from ludus.skills.verify import Check, Evidence, Verification, verify
from ludus.skills.vocabulary import Atom, Vocabulary
from ludus.types import Plan, Retrieval
from ludus.worlds.base import World

MAX_ATTEMPTS = 3
"""Candidates per gap: a rejected one goes back to its author with the failed check."""
AGAIN_AFTER = 5
"""Rounds after which a gap that every candidate failed for is asked about again: checks judge by what is stored, which is more
by then."""


@dataclass(frozen=True)
class Gap:
    """A step that no skill fits, with the first plan that needed it."""

    plan: Plan
    step: Retrieval
    template: str
    """The step, with X, Y, Z for its objects (and its task, where the planner means what follows a relation): gaps of one
    template ask for one family of skills."""
    key: str
    """Of the questions about it, each with its attempt's number behind."""


class Growth:
    """Grows the library of one run. All of its state is in the record."""

    def __init__(
        self,
        experimenter: Experimenter,
        practice: Practice,
        record: Record,
        world: World,
        config: Config,
        progress: Progress | None = None,
        overseer: Overseer | NullOverseer = UNWATCHED,
    ) -> None:
        self._experimenter, self._practice, self._record, self._world = experimenter, practice, record, world
        self._room = Room(record)
        self._config, self._progress, self._overseer = config, progress or Progress(), overseer

    # --- growing -------------------------------------------------------------------------------------------------

    def grow(self, n: int, library: SkillLibrary, evidence: Callable[[], Evidence]) -> SkillLibrary:
        """The library with the skills that are written in round n for gaps, as long as there is room for their practice.

        Args:
            evidence: what candidates are checked on; asked for only where there is a gap.
        """
        step, record = f"round/{n}/grow", self._record
        if record.done(step):
            return library  # it came from the record and has them
        self._overseer.before(step)
        practising = self._practice.practising(library)
        room = self._config.experiment.max_practising - len(practising)
        gaps, written, waiting = open_gaps(record, library) if room > 0 else [], list[dict[str, Any]](), list[str]()
        with record.commit(step) as opened, self._progress.stage(f"round {n}: growing", 1):
            seen = evidence() if gaps else None
            for gap in gaps:
                if seen is None or room == 0:
                    break
                family, kept = self._write(gap, library, seen)
                written.append(kept)
                if not family:
                    continue
                room -= 1
                captions, why = [c.caption for c in family], self._waits_for(family)
                library = self._join(n, library, family, why)
                if why is None:
                    practising[library.template(captions[0])] = captions
                else:
                    waiting += captions
            practice = self._practice.chosen(library, practising)
            opened.result = {"gaps": written, "practice": practice} | ({"waiting": waiting} if waiting else {})
        return library

    def admit(self, n: int, library: SkillLibrary) -> None:
        """Practise in round n what was approved of the skills that waited for it, too; in step `round/N/approve`."""
        step, record = f"round/{n}/approve", self._record
        if record.result(f"round/{n}/grow").get("waiting") and not record.done(step):
            with record.commit(step) as opened:
                practising = self._practice.practising(library)
                opened.result = {"practice": self._practice.chosen(library, practising)}

    def _waits_for(self, family: Sequence[Candidate]) -> str | None:
        """Why a family of skills waits for approval; None where it is practised at once."""
        limits = self._config.oversight
        broken = next(filter(None, (self._overseer.broken(c.success) for c in family)), None)
        return broken if broken is not None and limits.ask else "it is new" if limits.approve_skills else None

    def _write(self, gap: Gap, library: SkillLibrary, evidence: Evidence) -> tuple[list[Candidate], dict[str, Any]]:
        """The family that was written for one gap, empty where no candidate passed; and what is recorded of it."""
        tried, rejections, family = list[dict[str, Any]](), list[Rejection](), list[Candidate]()
        refused = list[dict[str, str]]()
        for attempt in range(MAX_ATTEMPTS):
            try:
                candidate = self._experimenter.write_skill(self._question(gap, library, attempt, rejections))
            except NoAnswer as error:
                self._room.post("growth", "all", "note", f"{error}.")
                break
            verification = self._ruled(candidate, verify(candidate, library, evidence, _described(gap, library)))
            self._tell(candidate, verification)
            tried.append(asdict(candidate) | {"checks": [asdict(c) for c in verification.checks]})
            if verification.failed is None:
                family, refused = self._family(candidate, library, evidence)
                break
            rejections.append(Rejection(candidate, verification.failed.name, verification.failed.detail))
        kept = {"template": gap.template, "missing": gap.step.step, "plan": gap.plan.id, "key": gap.key, "tried": tried}
        return family, kept | {"author": self._author, "joined": [c.caption for c in family], "refused": refused}

    def _ruled(self, candidate: Candidate, verification: Verification) -> Verification:
        """The checks and, if all were passed, that no rule forbids the skill."""
        why = self._overseer.broken(candidate.success) if verification.passed else None
        if why is None or self._config.oversight.ask:
            return verification
        return Verification((*verification.checks, Check("rules", False, f"{why[:1].upper()}{why[1:]}.")))

    def _family(
        self, candidate: Candidate, library: SkillLibrary, evidence: Evidence
    ) -> tuple[list[Candidate], list[dict[str, str]]]:
        """The candidate, and those of the same skill about other objects that pass, too; and which do not, and why."""
        first, *others = members(candidate, library.vocabulary)
        family, refused = [first], list[dict[str, str]]()
        for other in others:
            failed = self._ruled(other, verify(other, library, evidence, is_sibling=True)).failed
            if failed is None:
                family.append(other)
            else:
                refused.append({"caption": other.caption, "check": failed.name, "detail": failed.detail})
        if refused:
            text = "; ".join(f"{r['caption']!r} failed {r['check']!r}: {r['detail']}" for r in refused)
            self._room.post("growth", "all", "note", f"Not with these objects: {text}")
        return family, refused

    def _question(
        self, gap: Gap, library: SkillLibrary, attempt: int, rejections: Sequence[Rejection]
    ) -> WriteQuestion:
        proposal, spec = gap.plan.proposal, self._world.spec
        return WriteQuestion(
            key=f"{gap.key}/{attempt}",
            missing=gap.step.step,
            task=proposal.task,
            goal=proposal.goal,
            scene=Scene(spec.objects, ()),
            skills=tuple(library),
            max_steps=spec.episode_steps,
            skill_steps=spec.skill_steps,
            rejections=tuple(rejections),
        )

    def _join(self, n: int, library: SkillLibrary, family: Sequence[Candidate], waits_for: str | None) -> SkillLibrary:
        skills = [c.skill for c in family]
        grown = library.add(*skills)
        untried = [SkillStats(s.caption, s.success, prerequisites=s.prerequisites) for s in library]
        first, spec = skills[0].caption, self._world.spec
        parents = way_to(first, grown, untried, spec, find_approaches(grown, spec).get(first))
        self._record.add_skills(skills, n, self._author, parents, "candidate")
        captions = ", ".join(repr(s.caption) for s in skills)
        if waits_for is None:
            for skill in skills:
                self._record.set_skill_status(skill.caption, "practising", n)
            text = f"New skills to practise: {captions}."
            self._room.post("growth", "embodiment", "skills", text, payload={"skills": [asdict(s) for s in skills]})
        else:
            template = grown.template(skills[0].caption)
            text = approval(f"{template!r} ({captions}: {waits_for})", template, self._config.oversight)
            self._room.post("oversight", "all", APPROVAL, text, payload={"skills": [asdict(s) for s in skills]})
        return grown

    def _tell(self, candidate: Candidate, verification: Verification) -> None:
        text = f"{candidate.caption!r}: reward {candidate.reward}; success {candidate.success}."
        self._room.post("experimenter", "growth", "candidate", text, payload=asdict(candidate))
        failed = verification.failed
        said = f"passed all {len(verification.checks)} checks" if failed is None else f"failed {failed.name!r}"
        detail = "" if failed is None else f" {failed.detail}"
        payload = {"caption": candidate.caption, "checks": [asdict(c) for c in verification.checks]}
        self._room.post("growth", "experimenter", "verification", f"{candidate.caption!r} {said}.{detail}", (), payload)

    # --- inside --------------------------------------------------------------------------------------------------

    @property
    def _author(self) -> str:
        return self._config.experimenter.write_skill


def open_gaps(record: Record, library: SkillLibrary) -> list[Gap]:
    """Gaps of all plans so far that no skill was written for yet, or none that passed, `AGAIN_AFTER` rounds ago. First those
    whose task needs the fewest relations that no skill brings about; of these, those that more plans have."""
    written = [(i, g) for i, result in enumerate(reversed(grown(record)), 1) for g in result["gaps"]]
    handled = {g["template"] for i, g in written if g["joined"] or i < AGAIN_AFTER}
    failed = Counter(g["template"] for _, g in written if not g["joined"])
    asked, first = Counter[str](), dict[str, Gap]()
    for _, plan in record.plans():
        for i, step in enumerate(plan.gaps):
            # of what follows a relation (away) another skill is missing for each relation
            follows = step.step.startswith(GAP) and len(library.mentioned(step.step)) < 2
            template = library.template(f"{step.step}, for {plan.proposal.task}" if follows else step.step)
            asked[template] += 1
            again = f"/again{n}" if (n := failed[template]) else ""
            first.setdefault(template, Gap(plan, step, template, f"{plan.id}/write/{i}{again}"))
    known = achieved(library)
    far = {t: _new_relations(gap.plan.proposal.goal, known, library.vocabulary) for t, gap in first.items()}
    return [first[t] for t in sorted(first, key=lambda t: (far[t], -asked[t])) if t not in handled]


def grown(record: Reader) -> list[Mapping[str, Any]]:
    """Results of the steps `round/N/grow`, in order."""
    return [record.result(step) for step in grow_steps(record)]


def _described(gap: Gap, library: SkillLibrary) -> str | None:
    """The part of the task's goal that the missing step is about: its conditions on the objects that the step names, without
    those that known skills bring about; the whole goal where this leaves nothing."""
    goal = gap.plan.proposal.goal
    expression = condition(goal, library.vocabulary)
    if expression is None:
        return goal
    named, known = set(library.mentioned(gap.step.step)), achieved(library)
    part = [a for a in expression.conditions() if set(a[1]) <= named and a not in known]
    return " and ".join(map(atom_text, part)) or goal


def _new_relations(goal: str | None, known: Set[Atom], vocabulary: Vocabulary) -> int:
    """Relations that a goal demands, or needs on the way, and no skill brings about; 0 for one outside the language."""
    expression = condition(goal, vocabulary)
    atoms = set(expression.conditions()) if expression is not None else set[Atom]()
    needed = atoms.union(*(closure(vocabulary, atom) for atom in atoms))
    return sum(len(a[1]) > 1 and denied(a, vocabulary) is None for a in needed - known)
