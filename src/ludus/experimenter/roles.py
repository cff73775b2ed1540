"""The experimenter's roles: typed questions in, typed answers out. Nothing here knows who answers.

A question carries everything that an answer may depend on, as text, numbers and paths of pictures, so the same question can
go to the built-in planner, a vision-language model, a person or a recording. `key` names the question within the run: random
numbers are derived from it, so that the same question gets the same answer after a crash.

How questions are put and who answers by default: `ludus.experimenter.table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ludus.skills.candidate import Candidate
from ludus.skills.library import Skill
from ludus.types import Curve, LudusError, Proposal, Retrieval, Verdict


@dataclass(frozen=True)
class SkillStats:
    """What an experimenter may know of one skill: its caption, what it achieves, how well it goes."""

    caption: str
    success: str
    """Success expression of the skills language."""
    n: int = 0
    """Times it was tried."""
    successes: int = 0
    recent: tuple[bool, ...] = ()
    """The latest outcomes, oldest first."""
    prerequisites: str = ""
    """What must hold before, an expression; empty for nothing."""

    @property
    def competence(self) -> float:
        """Estimated success rate in (0, 1): posterior mean under a uniform prior, so an untried skill has 1/2."""
        return (self.successes + 1) / (self.n + 2)


@dataclass(frozen=True)
class Attempt:
    """One execution of a proposed task."""

    task: str
    success: bool
    round: int = 0


@dataclass(frozen=True)
class Scene:
    """The objects before the robot, and what holds of them."""

    objects: tuple[str, ...]
    facts: tuple[str, ...]
    """Predicate atoms that hold, e.g. `on(red, green)`."""
    images: tuple[str, ...] = ()
    """Paths relative to the run directory; empty where nothing can be rendered."""


@dataclass(frozen=True)
class ProposeQuestion:
    """Which task next?"""

    key: str
    scene: Scene
    skills: tuple[SkillStats, ...]
    history: tuple[Attempt, ...] = ()
    gaps: tuple[str, ...] = ()
    """Tasks proposed before of which a step fitted no skill of this library."""
    max_steps: int = 5
    """Skills that fit into one episode."""
    seek_gap: bool = False
    """Whether a task is wanted that needs a skill which the library lacks: there is time to learn one."""
    remarks: tuple[str, ...] = ()
    """What people who watch the run have said, oldest first: guidance, which the built-in planner does not read."""
    refused: tuple[str, ...] = ()
    """Tasks that people, or their rules, have forbidden."""


@dataclass(frozen=True)
class DecomposeQuestion:
    """Which steps lead from the scene to the task's goal? The answer is free-form steps in order, at least one. A step that
    no skill can do is a legitimate answer."""

    key: str
    scene: Scene
    proposal: Proposal
    skills: tuple[SkillStats, ...]
    max_steps: int = 5


@dataclass(frozen=True)
class RetrieveQuestion:
    """Which skill is this step? The answer is a caption among `skills`, or None with a description of what is missing."""

    key: str
    step: str
    scene: Scene
    skills: tuple[SkillStats, ...]


@dataclass(frozen=True)
class AnalyseQuestion:
    """Has the training of this skill converged?"""

    key: str
    curve: Curve
    images: tuple[str, ...] = ()
    """The plotted curve, relative to the run directory."""
    members: tuple[Curve, ...] = ()
    """The curves of the skills that are pooled in it; empty where they are not known."""
    practised: int | None = None
    """Episodes in which a robot was told to do one of these skills; None where that is not known."""


@dataclass(frozen=True)
class Rejection:
    """A candidate that failed a check before training."""

    candidate: Candidate
    check: str
    """Name of the check that it failed."""
    detail: str
    """What was wrong, with an example."""


@dataclass(frozen=True)
class WriteQuestion:
    """Which skill is missing? The answer is a `Candidate`: text that is checked before anything is trained."""

    key: str
    missing: str
    """Description of the missing step."""
    task: str
    """The task in which it was missing ..."""
    goal: str | None
    """... and its goal, an expression, where the proposal had one."""
    scene: Scene
    skills: tuple[Skill, ...]
    """The library: examples of the language, and what need not be written again."""
    max_steps: int = 400
    """Control steps of an episode."""
    skill_steps: int = 80
    """Usual control steps of a skill."""
    rejections: tuple[Rejection, ...] = ()
    """Earlier answers to the same gap and why they were refused, oldest first; at most three."""


class NoAnswer(LudusError):
    """No usable answer, or 'can't tell'. The caller goes on without one."""


class Roles(Protocol):
    """A variant that plays all four roles of the method. Each method raises NoAnswer where it cannot tell."""

    def propose(self, question: ProposeQuestion) -> Proposal: ...
    def decompose(self, question: DecomposeQuestion) -> tuple[str, ...]: ...
    def retrieve(self, question: RetrieveQuestion) -> Retrieval: ...
    def analyse(self, question: AnalyseQuestion) -> Verdict: ...


@dataclass(frozen=True)
class Experimenter:
    """Who plays each role; each is separately swappable."""

    propose: Callable[[ProposeQuestion], Proposal]
    decompose: Callable[[DecomposeQuestion], tuple[str, ...]]
    retrieve: Callable[[RetrieveQuestion], Retrieval]
    analyse: Callable[[AnalyseQuestion], Verdict]
    more: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Roles of `table.ROLES` beyond these four, by name."""
    is_remote: bool = False
    """Whether plans come over a wire: then questions are better asked at the same time, and ahead."""
    analyst_is_remote: bool = False
    """Whether verdicts do."""
    analyst_sees: bool = True
    """Whether the analyst looks at pictures of the curves; who does not needs none drawn."""

    def write_skill(self, question: WriteQuestion) -> Candidate:
        """The skill that a gap asks for. Raises: NoAnswer: nobody plays the role, or whoever does cannot tell."""
        player = self.more.get("write_skill")
        if player is None:
            raise NoAnswer("nobody writes skills: name a player in experimenter.write_skill")
        return player(question)


def check_proposal(proposal: Proposal) -> Proposal:
    """The proposal, if it is one.

    Raises:
        LudusError: no task, or a stated probability outside [0, 1].
    """
    if not proposal.task.strip():
        raise LudusError("a proposal needs a task; the proposer answered an empty one")
    if not 0 <= proposal.success_probability <= 1:
        raise LudusError(f"success probability {proposal.success_probability!r} of {proposal.task!r} is not in [0, 1]")
    return proposal
