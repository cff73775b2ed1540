"""The experimenter's four roles: typed questions in, typed answers out. Nothing here knows who answers.

A question carries everything that an answer may depend on, as text, numbers and paths of pictures, so the same
question can go to the built-in planner, a vision-language model, a person or a recording. `key` names the question
within the run: whoever draws random numbers derives them from it, so asking again after a crash gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ludus.types import Curve, LudusError, Proposal, Retrieval, Verdict


@dataclass(frozen=True)
class SkillStats:
    """What an experimenter may know of one skill: how it is called, what it achieves, how well it goes."""

    caption: str
    success: str
    """Success expression of the skills language."""
    n: int = 0
    """Times it was tried."""
    successes: int = 0
    recent: tuple[bool, ...] = ()
    """The latest outcomes, oldest first."""

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
    """What stands in front of the robot."""

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


@dataclass(frozen=True)
class DecomposeQuestion:
    """Which steps lead from the scene to the task's goal?"""

    key: str
    scene: Scene
    proposal: Proposal
    skills: tuple[SkillStats, ...]
    max_steps: int = 5


@dataclass(frozen=True)
class RetrieveQuestion:
    """Which skill is this step?"""

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


class NoAnswer(LudusError):
    """The one asked gave no usable answer, or could not tell. Whoever asked goes on without."""


class Proposer(Protocol):
    def propose(self, question: ProposeQuestion) -> Proposal:
        """Raises: NoAnswer."""
        ...


class Decomposer(Protocol):
    def decompose(self, question: DecomposeQuestion) -> tuple[str, ...]:
        """Free-form steps in order; at least one. A step that no skill can do is a legitimate answer. Raises: NoAnswer."""
        ...


class Retriever(Protocol):
    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        """A caption among the question's skills, or None with a description of the missing skill. Raises: NoAnswer."""
        ...


class Analyst(Protocol):
    def analyse(self, question: AnalyseQuestion) -> Verdict:
        """Raises: NoAnswer."""
        ...


class Roles(Proposer, Decomposer, Retriever, Analyst, Protocol):
    """One who can play all four."""


@dataclass(frozen=True)
class Experimenter:
    """Who plays each role; each is separately swappable."""

    propose: Callable[[ProposeQuestion], Proposal]
    decompose: Callable[[DecomposeQuestion], tuple[str, ...]]
    retrieve: Callable[[RetrieveQuestion], Retrieval]
    analyse: Callable[[AnalyseQuestion], Verdict]
    is_remote: bool = False
    """Whether plans come over a wire: then questions are better asked at the same time, and ahead."""
    analyst_is_remote: bool = False
    """Whether verdicts do."""


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
