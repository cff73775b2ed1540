"""The built-in experimenter. It knows the vocabulary of the world and the run so far; it needs no model and no network."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, pairwise, permutations

import numpy as np

from ludus.experimenter import curves
from ludus.experimenter.chaining import AT_ONCE, GAP, Chainer, PlanStep, feasibility
from ludus.experimenter.effects import (
    atoms,
    closure,
    denied,
    is_lasting,
    lasting_relations,
    left_by,
    moved_by,
    relations,
)
from ludus.experimenter.matching import Matcher
from ludus.experimenter.phrasing import MAX_CAPTION_OBJECTS
from ludus.experimenter.roles import (
    AnalyseQuestion,
    Attempt,
    DecomposeQuestion,
    NoAnswer,
    ProposeQuestion,
    RetrieveQuestion,
    Scene,
    SkillStats,
)
from ludus.seeding import rng
from ludus.skills.expression import atom_text
from ludus.skills.names import ObjectNames
from ludus.skills.vocabulary import Atom, Vocabulary, is_predicate
from ludus.types import LudusError, Proposal, Retrieval, Verdict

MAX_CANDIDATES = 300
"""Tasks considered per proposal; with more, a random choice."""
MASTERED = 3
"""Successes after which a task that takes several skills may be asked for as one skill."""
_CUTS = re.compile(
    r"[,;](?! *(?:but |and )?(?:not|never|do not|don.?t)\b)|[.!?](?:\s|$)|\b(?:and )?then\b", re.IGNORECASE
)
RECENT = 8
"""Attempts that count as 'now' when progress is measured against those before."""


@dataclass(frozen=True)
class Weights:
    """Weights of the terms of a task's score, each term in [0, 1]; a task is drawn by the softmax of the scores at
    `temperature`. Source: docs/method.md, section 1."""

    novelty: float = 1.0
    """1 / sqrt(1 + attempts)."""
    progress: float = 1.0
    """How much its success rate, or that of its steps, has changed lately."""
    frontier: float = 1.0
    """4 f (1 - f) of the estimated feasibility f: neither sure nor hopeless."""
    complexity: float = 1.0
    """f times the share of an episode it fills: harder things once their parts are mastered."""
    gap: float = 0.3
    """A step that no skill fits, times the mean competence of the known skills; in place of progress and frontier."""
    temperature: float = 0.2


@dataclass(frozen=True)
class Task:
    """Something that could be proposed."""

    text: str
    goal: str
    atoms: tuple[Atom, ...]


class Planner:
    """All roles but `write_skill`, which `writing` plays for it. Stateless: the same question gets the same answer."""

    def __init__(self, vocabulary: Vocabulary, seed: int, weights: Weights | None = None) -> None:
        self.vocabulary = vocabulary
        self.seed = seed
        self.weights = weights or Weights()
        self._names = ObjectNames(vocabulary.objects)
        self._chainer = lru_cache(maxsize=4)(self._make_chainer)
        self._tasks = lru_cache(maxsize=4)(self._make_tasks)
        self._matcher = lru_cache(maxsize=4)(Matcher)
        self._fact = lru_cache(maxsize=4096)(lambda fact: atoms(fact, vocabulary))

    # --- propose --------------------------------------------------------------------------------------------------

    def propose(self, question: ProposeQuestion) -> Proposal:
        """Draws among all tasks by novelty, learning progress, feasibility and complexity; where a gap is sought, among those
        that lack the fewest skills.

        Raises:
            LudusError: there are no skills.
            NoAnswer: every goal holds already, or is too long.
        """
        if not question.skills:
            raise LudusError("nothing to propose: the library has no skill")
        draw = rng(self.seed, "propose", question.key)
        chainer, facts = self._chainer(question.skills), self._facts(question.scene)
        tasks = _some(self.tasks(question.skills), {s.caption for s in question.skills}, draw)
        mastered, left = self._mastered(question.history), [left_by(s, self.vocabulary) for s in question.skills]
        options = list[tuple[Task, tuple[PlanStep, ...]]]()
        for task in tasks:
            steps = chainer.steps(task.atoms, facts, question.max_steps)
            if 0 < len(steps) <= question.max_steps:
                options.append((task, steps))
            if self._worth_one_skill(task, steps, left) and self._names.template(task.text) in mastered:
                whole = f"{AT_ONCE} {task.text}"
                options.append((Task(whole, task.goal, task.atoms), (PlanStep(whole, None),)))
        options = [(t, s) for t, s in options if _n_missing(s) == 0 or t.text not in question.gaps]
        options = [(t, s) for t, s in options if t.text not in question.refused]
        if question.seek_gap and any(_n_missing(s) for _, s in options):
            least = min(n for _, s in options if (n := _n_missing(s)))
            options = [(t, s) for t, s in options if _n_missing(s) == least]
        open_tasks, scores, reasons, chances = [], [], [], []
        for task, steps in options:
            score, why = self._score(task, steps, question)
            open_tasks.append(task)
            scores.append(score)
            reasons.append(why)
            chances.append(feasibility(steps))
        if not open_tasks:
            raise NoAnswer("nothing to propose: every goal holds already, or is too long for an episode")
        logits = (np.array(scores) - max(scores)) / self.weights.temperature
        probabilities = np.exp(logits) / np.exp(logits).sum()
        i = int(draw.choice(len(open_tasks), p=probabilities))
        chance = min(max(chances[i], 0.01), 0.99)
        return Proposal(open_tasks[i].text, reasons[i], round(chance, 3), open_tasks[i].goal)

    def _worth_one_skill(self, task: Task, steps: Sequence[PlanStep], left: Sequence[frozenset[Atom]]) -> bool:
        """Whether a task of several parts ends with no object held, in a state that lasts, so that more can be built on it; a
        caption can name its objects; and no skill leaves all of it. `left`: what each skill leaves."""
        if self._stages & {name for name, _ in task.atoms} or sum(not s.prepares for s in steps) < 2:
            return False
        parts = relations(task.atoms)
        if len({o for _, objects in parts for o in objects}) > MAX_CAPTION_OBJECTS:
            return False
        return not any(parts <= of_skill for of_skill in left)

    @cached_property
    def _stages(self) -> set[str]:
        """Predicates that moving an object passes through: near, held, lifted, above."""
        lasting, by_name = lasting_relations(self.vocabulary), self.vocabulary.by_name
        each = [(name, tuple("XYZW"[: len(by_name[name].parameters)])) for name in lasting]
        passed = {name for atom in each for name, _ in closure(self.vocabulary, atom)} - lasting
        return {name for name in passed if by_name[name].preconditions}

    def _score(self, task: Task, steps: Sequence[PlanStep], question: ProposeQuestion) -> tuple[float, str]:
        text = task.text.removeprefix(f"{AT_ONCE} ")
        w, tried = self.weights, [a.success for a in question.history if a.task == text]
        chance, n_parts = feasibility(steps), sum(not s.prepares for s in steps)
        change = max([abs(_change(tried)), *(abs(_change(s.skill.recent)) for s in steps if s.skill)])
        missing = [s.text for s in steps if s.skill is None]
        novelty = 1 / math.sqrt(1 + len(tried))
        if missing:
            # New, but nothing to do with the robot yet: the better the known skills are, the more it is time for more.
            ready = float(np.mean([s.competence for s in question.skills]))
            score = ready * (w.novelty * novelty + w.gap + w.complexity * n_parts / question.max_steps)
        else:
            frontier, complexity = 4 * chance * (1 - chance), chance * n_parts / question.max_steps
            score = w.novelty * novelty + w.progress * change + w.frontier * frontier + w.complexity * complexity
        why = "never tried" if not tried else f"{sum(tried)} successes in {len(tried)} tries"
        if change >= 0.1:
            why += f"; success has changed by {change:.2f} lately"
        why += f"; {n_parts} part{'s' if n_parts > 1 else ''}, expected to succeed with {chance:.2f}"
        if missing:
            why += f"; no skill does this yet: {missing[0]}"
        return score, why

    def _mastered(self, history: Sequence[Attempt]) -> set[str]:
        """Templates of the tasks that were carried out at least `MASTERED` times."""
        done = Counter(self._names.template(a.task) for a in history if a.success)
        return {template for template, n in done.items() if n >= MASTERED}

    def tasks(self, skills: tuple[SkillStats, ...]) -> list[Task]:
        """Every task considered: the skills themselves first, then compositions of lasting relations."""
        return list(self._tasks(tuple((s.caption, s.success) for s in skills)))

    def _make_tasks(self, skills: tuple[tuple[str, str], ...]) -> list[Task]:
        vocabulary, objects = self.vocabulary, self.vocabulary.objects
        tasks = [Task(caption, success, atoms(success, vocabulary)) for caption, success in skills]
        tasks = [t for t in tasks if t.atoms]
        arity = {name: len(vocabulary.by_name[name].parameters) for name in sorted(lasting_relations(vocabulary))}
        built: list[tuple[Atom, ...]] = []
        for name, n in arity.items():
            # A relation on top of the relations it needs: side by side and then on both is a pyramid.
            each = ((name, o) for o in permutations(objects, n))
            built += [(*(a for a in vocabulary.preconditions(atom) if a[0] in arity), atom) for atom in each]
        built = [g for g in built if all(objects[0] in vocabulary.movable for _, objects in g)]
        single = [g for g in built if len(g) == 1]
        for name in (name for name, n in arity.items() if n == 2):
            for n in (3, 4):  # towers and rows; of more they are long for an episode and many to look through
                orders = (o for o in permutations(objects, n) if vocabulary.movable.issuperset(o[:-1]))
                built += [tuple((name, pair) for pair in pairwise(o))[::-1] for o in orders]
        # A finished relation, and something else at the furthest stage of being moved: lifted.
        stages = [t.atoms for t in tasks if len(t.atoms) == 1 and self._is_stage(t.atoms[0])]
        passed = {need for (stage,) in stages for need in closure(vocabulary, stage)}
        for goal in single:
            built += [(*goal, a) for (a,) in stages if a not in passed and a[1][0] not in goal[0][1]]
        known = {relations(t.atoms) for t in tasks}
        composed = [self._compose(g, tasks) for g in built if frozenset(g) not in known]
        return tasks + composed + self._further(tasks) + self._together(tasks)

    def _is_stage(self, atom: Atom) -> bool:
        """Whether it is about one object that is moved."""
        is_about_it = len(atom[1]) == 1 and denied(atom, self.vocabulary) is None
        return is_about_it and (is_predicate(atom) or moved_by(atom, self.vocabulary) is not None)

    def _together(self, tasks: Sequence[Task]) -> list[Task]:
        """Two comparisons, each about where another object is."""
        single = [(t.text, t.atoms[0]) for t in tasks if len(t.atoms) == 1]
        places = [(text, a) for text, a in single if is_lasting(a, self.vocabulary) and not is_predicate(a)]
        return [
            Task(f"{one} and {other}", f"{atom_text(a)} and {atom_text(b)}", (a, b))
            for (one, a), (other, b) in combinations(places, 2)
            if moved_by(a, self.vocabulary) != moved_by(b, self.vocabulary)
        ]

    def _further(self, tasks: Sequence[Task]) -> list[Task]:
        """One finished relation and the condition of the moved object that only now can follow: released, and then away. Only
        where no skill does both."""
        known, lasting = {frozenset(t.atoms) for t in tasks}, lasting_relations(self.vocabulary)
        conditions = [p for p in self.vocabulary.predicates if p.result == "bool" and len(p.parameters) == 1]
        found = []
        for task in (t for t in tasks if len(relations(t.atoms)) == 1):
            moved = next((objects[:1] for name, objects in task.atoms if name in lasting), ())
            for atom in ((p.name, moved) for p in conditions if moved and p.preconditions):
                goal = (*task.atoms, atom)
                if set(self.vocabulary.preconditions(atom)) <= set(task.atoms) and frozenset(goal) not in known:
                    text = f"{task.text} and {atom[0].replace('_', ' ')}"
                    found.append(Task(text, " and ".join(map(atom_text, goal)), goal))
        return found

    def _compose(self, goal: tuple[Atom, ...], tasks: Sequence[Task]) -> Task:
        """Each part is done as thoroughly as the simplest skill for it does it: on, and released, and still."""
        whole: dict[Atom, None] = {}
        for atom in goal:
            options = [t.atoms for t in tasks if atom in t.atoms and len(relations((*t.atoms, atom)) - {atom}) == 0]
            whole |= dict.fromkeys(min(options, key=len, default=(atom,)))
        return Task(f"arrange {' and '.join(map(_phrase, goal))}", " and ".join(map(atom_text, whole)), tuple(whole))

    # --- decompose ------------------------------------------------------------------------------------------------

    def decompose(self, question: DecomposeQuestion) -> tuple[str, ...]:
        """Backward chaining to the proposal's goal; without a goal, the task's text is taken apart at its joints."""
        goal, chainer = self._goal(question), self._chainer(question.skills)
        if goal and question.proposal.task.startswith(AT_ONCE):
            return (question.proposal.task,)
        if not any(map(chainer.knows, goal)):
            return tuple(self._parts(question.proposal.task, {s.caption for s in question.skills}))
        steps = chainer.steps(goal, self._facts(question.scene), question.max_steps)
        return tuple(s.text for s in steps) or (question.proposal.task,)

    def _parts(self, task: str, captions: Set[str]) -> list[str]:
        """Cut at commas, sentences and 'then', but not before what the same part is not to be: 'lift red, not green'; and at an
        'and' between two things to do, each about two objects: 'put red on green and blue on red'. A caption stays whole. An
        'it' becomes what it is about: 'lift red, then put it on blue'."""
        parts = list[str]()
        for part in _CUTS.split(task):
            first, *more = [part] if part.strip() in captions else re.split(r"\band\b", part, flags=re.I)
            parts.append(first)
            for other in more:
                if min(len(self._names.find(text)) for text in (parts[-1], other)) > 1:
                    parts.append(other)
                else:
                    parts[-1] += f"and{other}"
        parts = [re.sub(r"^and\b", "", p.strip()).strip() for p in parts]
        return self._matcher((), self._names.objects).named([p for p in parts if p] or [task])

    def _goal(self, question: DecomposeQuestion) -> tuple[Atom, ...]:
        try:
            return atoms(question.proposal.goal, self.vocabulary)
        except LudusError:
            return ()  # another proposer's goal need not be in the language; its words remain

    # --- retrieve -------------------------------------------------------------------------------------------------

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        if question.step.startswith((AT_ONCE, GAP)):  # put into words because no skill does it: the words mislead
            return Retrieval(question.step, None, f"a skill that does this: {question.step}")
        captions = tuple(s.caption for s in question.skills)
        return self._matcher(captions, question.scene.objects).retrieve(question.step)

    # --- analyse --------------------------------------------------------------------------------------------------

    def analyse(self, question: AnalyseQuestion) -> Verdict:
        return curves.judge_family(question.curve, question.members, question.practised)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _make_chainer(self, skills: tuple[SkillStats, ...]) -> Chainer:
        return Chainer(self.vocabulary, skills)

    def _facts(self, scene: Scene) -> frozenset[Atom]:
        return frozenset(a for fact in scene.facts for a in self._fact(fact))


def _some(tasks: list[Task], captions: set[str], draw: np.random.Generator) -> list[Task]:
    """At most MAX_CANDIDATES tasks: as many single skills as compositions, where there are enough of both."""
    single, composed = [t for t in tasks if t.text in captions], [t for t in tasks if t.text not in captions]
    half = MAX_CANDIDATES // 2
    n_single = min(len(single), max(half, MAX_CANDIDATES - len(composed)))
    n_composed = min(len(composed), MAX_CANDIDATES - n_single)
    chosen = []
    for pool, n in ((single, n_single), (composed, n_composed)):
        chosen += [pool[i] for i in sorted(draw.choice(len(pool), n, replace=False))] if n < len(pool) else pool
    return chosen


def _n_missing(steps: Sequence[PlanStep]) -> int:
    """Steps that no skill fits."""
    return sum(s.skill is None for s in steps)


def _change(results: Sequence[bool]) -> float:
    """Success rate of the latest results less that of those before; 0 without enough of both.

    Rates are shrunk towards 1/2, so that two lucky draws are no progress.
    """
    n = min(RECENT, len(results) // 2)
    if n < 2:
        return 0.0
    now, before = results[-n:], results[-2 * n : -n]
    return (sum(now) + 1) / (n + 2) - (sum(before) + 1) / (n + 2)


def _phrase(atom: Atom) -> str:
    name, objects = atom
    if not is_predicate(atom):
        return atom_text(atom)
    if len(objects) < 2:
        return " ".join([*objects, name.replace("_", " ")])
    return f"{objects[0]} {name.replace('_', ' ')} {' and '.join(objects[1:])}"
