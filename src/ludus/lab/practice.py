"""Practice: episodes that command skills which are still to be learned, started where their prerequisites lead.

Which these are in a round, the training's focus on them, and the known skills that lead to each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ludus.config import Config
from ludus.data.labels import Focus
from ludus.experimenter.chaining import Chainer
from ludus.experimenter.effects import atoms
from ludus.experimenter.roles import SkillStats
from ludus.lab.analysis import aggregate, latest_counts
from ludus.lab.approach import Approach, Approaches, find_approaches
from ludus.lab.context import skill_stats
from ludus.lab.embodiment import fits
from ludus.lab.rollout import RolloutSpec
from ludus.lab.room import Room
from ludus.record import Record
from ludus.record.reader import Reader
from ludus.seeding import child, rng
from ludus.skills.library import SkillLibrary
from ludus.types import WorldSpec

MAX_ATTEMPTS = 2
"""Commands of a practised skill per episode, each after steps that lead to it; the second starts where the first led."""

SHOWN = 0.25
"""Share of the commands of each base skill in the seed data that succeed at least, before training on them is also about written
skills: of the default data .42 and more do, of very poor ones, where written skills cost base skills, .12 (docs/results.md)."""
FIRST_BELOW = 0.5
"""Share of `experiment.practise_below`: while a base skill succeeds in less than it, written skills are not practised."""
FIRST_ROUNDS = 3
"""At most so many rounds of a run: a base skill that is never learned must not end growth."""

Ways = Mapping[str, Mapping[str, Sequence[str]]]
"""Template -> caption of a practised skill -> captions of known skills that lead to it, in order."""


@dataclass(frozen=True)
class Practice:
    """What one run practises, round by round. All of its state is in the record: the steps `round/N/grow`, `round/N/approve` and
    `round/N/practise` keep what is practised, each in place of the one before."""

    record: Record
    spec: WorldSpec
    config: Config

    # --- what the record knows -----------------------------------------------------------------------------------

    def practising(self, library: SkillLibrary) -> dict[str, list[str]]:
        """Captions of the written skills that are practised by now, by template."""
        practised = [s["caption"] for s in self.record.skills() if s["status"] == "practising"]
        return library.families(c for c in practised if c in library)

    def rehearsed(self, library: SkillLibrary) -> dict[str, list[str]]:
        """Captions of the accepted skills that nobody demonstrated, by template: what is not practised any more is forgotten."""
        shown = {c.caption for c in self.record.success_counts("seed-data")}
        accepted = [s["caption"] for s in self.record.skills() if s["status"] == "accepted" and not s["base"]]
        return library.families(c for c in accepted if c in library and c not in shown)

    @property
    def dropped(self) -> set[str]:
        """Captions of the skills that were given up."""
        return {s["caption"] for s in self.record.skills() if s["status"] == "dropped"}

    def rounds_of(self, template: str) -> int:
        """In how many rounds a template was practised."""
        rounds = (int(step.split("/")[1]) for step in grow_steps(self.record))
        return sum(template in self.templates(n) for n in rounds)

    def templates(self, n: int) -> set[str]:
        """What is practised in round n, base skills among it."""
        return set(self._kept(n)["ways"])

    # --- choosing ------------------------------------------------------------------------------------------------

    def choose(self, n: int, library: SkillLibrary) -> None:
        """Practise in round n, too, the base skills that the policy cannot do yet, and these alone while they succeed so rarely
        that written ones had better wait; in step `round/N/practise`, with all that is practised."""
        step, limits, record = f"round/{n}/practise", self.config.experiment, self.record
        if not (limits.practise_below and limits.practice_episodes):
            return
        if record.done(step) or record.done(f"round/{n}/settle"):  # a round of before there was this step has none
            return
        with record.commit(step) as opened:
            weak, written = weak_skills(record, library, limits.practise_below), self.practising(library)
            waiting = list(written) if comes_first(record, library, n, limits.practise_below) else []
            practised = weak if waiting else written | weak
            opened.result = {"practice": self.chosen(library, practised)} | ({"waiting": waiting} if waiting else {})
            if weak:
                names, others = (", ".join(map(repr, templates)) for templates in (weak, waiting))
                wait = f" It is too rare for more: {others} waits." if waiting else ""
                text = f"Practised, too, while success is below {limits.practise_below:g}: {names}.{wait}"
                Room(record).post("growth", "embodiment", "skills", text, payload={"weak": weak, "waiting": waiting})

    def chosen(self, library: SkillLibrary, practising: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """What is practised and rehearsed, as it is recorded: per template, the captions and the known skills that lead to each;
        and the share of random actions."""
        stats = skill_stats(library, latest_counts(self.record.evaluations("curve")))
        known = [s for s in stats if library.template(s.caption) not in practising]
        approaches = find_approaches(library, self.spec)

        def ways(families: Mapping[str, Sequence[str]]) -> dict[str, dict[str, tuple[str, ...]]]:
            found = {}
            for template, captions in families.items():
                others = [s for s in known if library.template(s.caption) != template]  # it does not lead to itself
                found[template] = {c: way_to(c, library, others, self.spec, approaches.get(c)) for c in captions}
            return found

        succeeded = {c.caption for c in self.record.success_counts() if c.successes_once}
        exploring = any(not succeeded & set(captions) for captions in practising.values())
        exploration = self.config.experiment.practice_exploration if exploring else 0.0
        return {"ways": ways(practising), "rehearsed": ways(self.rehearsed(library)), "exploration": exploration}

    # --- what becomes of it --------------------------------------------------------------------------------------

    def rollouts(self, n: int, library: SkillLibrary, approaches: Approaches) -> tuple[list[RolloutSpec], float]:
        """The practice episodes of round n, those that rehearse last, and the share of random actions in them. None where no
        skill is practised or rehearsed.

        Args:
            approaches: of all skills that need some.
        """
        practice, limits = self._kept(n), self.config.experiment
        seed = child(self.config.seed, f"round/{n}", "practice")
        total, ways, rehearsed = limits.practice_episodes, practice["ways"], practice["rehearsed"]
        n_rehearsed = round(limits.rehearsal * total) if rehearsed else 0
        rollouts = practice_rollouts(ways, library, self.spec, total - n_rehearsed, seed, approaches)
        seed = child(self.config.seed, f"round/{n}", "rehearsal")
        again = practice_rollouts(rehearsed, library, self.spec, n_rehearsed, seed, approaches)
        rollouts += [replace(r, info={"rehearsal": r.info["practice"]}) for r in again]
        return rollouts, practice["exploration"]

    def focus(self, n: int) -> list[Focus]:
        """What the training of round n is about most: the skills that are practised, and those that are rehearsed, with the share
        `experiment.rehearsal` or what the practised ones leave."""
        practice, share = self._kept(n), self.config.sampling.focus
        groups = [{c for members in practice[name].values() for c in members} for name in ("ways", "rehearsed")]
        shares = share, min(self.config.experiment.rehearsal, 1 - share if groups[0] else 1.0)
        return [Focus(group, share) for group, share in zip(groups, shares, strict=True) if group and share]

    def first_focus(self, library: SkillLibrary) -> list[Focus]:
        """What the training on the seed data is about most: the skills that are written before it, if the data show the base
        skills well enough that both are learned."""
        return self.focus(1) if is_shown(self.record, library) else []

    def _kept(self, n: int) -> dict[str, Any]:
        steps = (f"round/{n}/practise", f"round/{n}/approve", f"round/{n}/grow")
        step = next(filter(self.record.done, steps), steps[-1])
        return {"rehearsed": {}} | dict(self.record.result(step)["practice"])


def grow_steps(record: Reader) -> list[str]:
    """Names of the steps `round/N/grow`, in order."""
    return [s.name for s in record.steps() if s.name.startswith("round/") and s.name.endswith("/grow")]


def weak_skills(record: Reader, library: SkillLibrary, below: float) -> dict[str, list[str]]:
    """Captions of the base skills that the policy cannot do yet, by template: those of a template whose success at the last
    point of the curves is below `below`, all together."""
    base = [s["caption"] for s in record.skills() if s["base"] and s["caption"] in library]
    counts = aggregate(latest_counts(record.evaluations("curve")), library)
    weak = {c.caption for c in counts if c.n and c.successes < below * c.n}
    return {t: [c for c in base if library.template(c) == t] for t in map(library.template, base) if t in weak}


def comes_first(record: Reader, library: SkillLibrary, n: int, below: float) -> bool:
    """Whether base skills succeed so rarely that in round n they are practised alone, and written skills wait.

    Args:
        below: `experiment.practise_below`.
    """
    before = (f"round/{k}/practise" for k in range(1, n))
    waited = sum(bool(record.result(step).get("waiting")) for step in before if record.done(step))
    return waited < FIRST_ROUNDS and bool(weak_skills(record, library, FIRST_BELOW * below))


def is_shown(record: Reader, library: SkillLibrary) -> bool:
    """Whether the data so far show each base skill that they command often enough for a policy to learn it from them soon."""
    base = {s["caption"] for s in record.skills() if s["base"]}
    counts = aggregate([c for c in record.success_counts() if c.caption in base and c.caption in library], library)
    return bool(counts) and all(c.successes >= SHOWN * c.n for c in counts)


def way_to(
    caption: str, library: SkillLibrary, known: Sequence[SkillStats], spec: WorldSpec, approach: Approach | None
) -> tuple[str, ...]:
    """Known skills that lead towards the skill's success, as far as they go without bringing it about: from nothing or, where
    there is an approach, after it, which comes first. Fewer where an episode is too short for them and the skill."""
    words = library.vocabulary
    goal = library.parse(library[caption])[1].atoms()
    room = max(0, spec.episode_steps - library[caption].steps) // spec.skill_steps
    found = list(approach.captions[:room]) if approach else []
    facts = atoms(approach.prerequisites, words) if approach else ()
    stands = set(facts)
    # What brings about the rest at once leads nowhere else: the way is the one by finer skills, 'lift X' to 'put X beside Y'.
    rest = set(goal) - stands
    chainer = Chainer(words, [s for s in known if not rest.issubset(atoms(s.success, words))])
    at_rest = [a for a in goal if a[0] in chainer.finished]  # as long as nothing was moved
    for step in chainer.steps(goal, (*facts, *at_rest), room - len(found)) if goal and room > len(found) else ():
        if step.skill is None or len(found) == room:
            break
        stands.update(atoms(step.skill.success, words))
        if stands.issuperset(goal):
            break
        found.append(step.skill.caption)
    return tuple(found)


def practice_rollouts(
    ways: Ways, library: SkillLibrary, spec: WorldSpec, n: int, seed: int, approaches: Approaches
) -> list[RolloutSpec]:
    """`n` episodes; episode i practises template i modulo their number, none if there is no template. Before each command
    of a practised skill stand the first 0, 1, ... or all skills of the way to it; of those that bring about its prerequisites,
    always all.

    Args:
        seed: every draw is from a named child of it.
    """
    templates = list(ways)
    rollouts = []
    for i in range(n if templates else 0):
        template = templates[i % len(templates)]
        start = child(seed, "episode", i)
        captions = _commands(ways[template], approaches, library, spec, start)
        rollouts.append(RolloutSpec(captions, start, info={"practice": template}))
    return rollouts


def _commands(
    ways: Mapping[str, Sequence[str]], approaches: Approaches, library: SkillLibrary, spec: WorldSpec, seed: int
) -> tuple[str, ...]:
    draw, members, captions = rng(seed, "practice"), list(ways), list[str]()
    for _ in range(MAX_ATTEMPTS):
        member = members[int(draw.integers(len(members)))]
        way, needed = tuple(ways[member]), approaches[member].captions if member in approaches else ()
        way = way if set(needed) <= set(way) else (*needed, *way)
        least = max((i + 1 for i, c in enumerate(way) if c in needed), default=0)
        n = int(draw.integers(least, len(way) + 1))
        while n > least and not fits((*way[:n], member), library, spec):
            n -= 1
        attempt = *way[:n], member
        if captions and not fits((*captions, *attempt), library, spec):
            break
        captions += attempt
    return tuple(captions)
