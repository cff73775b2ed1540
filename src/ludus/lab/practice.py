"""Practice: episodes that command skills which are still to be learned, started where their prerequisites lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ludus.config import Config
from ludus.experimenter.chaining import Chainer
from ludus.experimenter.effects import atoms
from ludus.experimenter.roles import SkillStats
from ludus.lab.analysis import aggregate, latest_counts
from ludus.lab.approach import Approach, Approaches, find_approaches
from ludus.lab.context import skill_stats
from ludus.lab.embodiment import fits
from ludus.lab.rollout import RolloutSpec
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


def chosen(
    record: Reader,
    library: SkillLibrary,
    spec: WorldSpec,
    config: Config,
    practising: Mapping[str, Sequence[str]],
    rehearsed: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """What is practised and rehearsed, as it is recorded: per template, the captions and the known skills that lead to each;
    and the share of random actions."""
    stats = skill_stats(library, latest_counts(record.evaluations("curve")))
    known = [s for s in stats if library.template(s.caption) not in practising]
    approaches = find_approaches(library, spec)

    def ways(families: Mapping[str, Sequence[str]]) -> dict[str, dict[str, tuple[str, ...]]]:
        found = {}
        for template, captions in families.items():
            others = [s for s in known if library.template(s.caption) != template]  # it does not lead to itself
            found[template] = {c: way_to(c, library, others, spec, approaches.get(c)) for c in captions}
        return found

    succeeded = {c.caption for c in record.success_counts() if c.successes_once}
    exploring = any(not succeeded & set(captions) for captions in practising.values())
    exploration = config.experiment.practice_exploration if exploring else 0.0
    return {"ways": ways(practising), "rehearsed": ways(rehearsed), "exploration": exploration}


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
