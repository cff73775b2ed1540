"""The data that crosses between rooms: frozen, with shapes and units. Nothing here imports another room.

Arrays are NumPy. `[E]` is parallel simulations, `[T]` control steps, `[A]` action dimensions, `[B]` a learner's batch;
a leading `...` means any batch shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

Observations = dict[str, np.ndarray]
"""Group name -> `[..., *group.shape]` of the group's dtype, as declared by an `ObservationSpec`."""


class LudusError(Exception):
    """A mistake the user can mend: the message names the value, the limit and the fix; the CLI prints it alone."""


DTYPES = ("float32", "float16", "float64", "bool", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)))
"""Of observations: what a shard can hold."""

# --- what a world shows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A named part of an observation group, with its unit and its usual range.

    Raises:
        LudusError: no such dtype, or a shape without entries.
    """

    name: str
    shape: tuple[int, ...]  # an int n stands for (n,)
    unit: str  # 'm', 'rad', 'rad/s', '1' (flags, quaternions), ...
    meaning: str
    dtype: str = "float32"
    centre: float | tuple[float, ...] = 0.0  # one number, or one for each entry: (x - centre) / scale is of order 1
    scale: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.shape, int):
            object.__setattr__(self, "shape", (self.shape,))
        if self.dtype not in DTYPES:
            raise LudusError(f"field {self.name!r} has dtype {self.dtype!r}; give one of {', '.join(DTYPES)}")
        if not self.shape or min(self.shape) < 1:
            raise LudusError(
                f"field {self.name!r} has shape {self.shape}; give at least one axis, each of length 1 or more"
            )

    @property
    def is_flat(self) -> bool:
        """Whether it can stand beside other fields in one float32 array."""
        return self.dtype == "float32" and len(self.shape) == 1

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


Kind = Literal["arm", "effector", "object"]


@dataclass(frozen=True)
class Group:
    """One observation array: the joints of the arm, the gripper, one object, one camera.

    Float fields of one axis stand side by side in one `[..., size]` float32 array. A field of another dtype or of more
    axes, such as an image, is alone in its group, whose array is `[..., *field.shape]`.

    Raises:
        LudusError: no fields, two of a name, or one that must be alone and is not.
    """

    name: str
    kind: Kind
    fields: tuple[Field, ...]
    movable: bool = True  # of an object: whether it can be moved; False for a goal marker, a fixture, a joint
    hidden: bool = False  # logged for predicates only; no policy sees it

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if not names or len(set(names)) < len(names):
            raise LudusError(f"group {self.name!r} has fields {names}; give at least one, each with a name of its own")
        alone = next((f for f in self.fields if not f.is_flat), None)
        if alone is not None and len(names) > 1:
            raise LudusError(
                f"field {alone.name!r} of group {self.name!r} is {alone.dtype} of shape {alone.shape}; only float32 fields "
                "of one axis share a group: give it a group of its own"
            )

    @cached_property
    def is_flat(self) -> bool:
        """Whether its array is `[..., size]` float32."""
        return all(f.is_flat for f in self.fields)

    @cached_property
    def size(self) -> int:
        """Number of entries of all fields."""
        return sum(f.size for f in self.fields)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of its array, without the batch axes."""
        return (self.size,) if self.is_flat else self.fields[0].shape

    @property
    def dtype(self) -> str:
        """Of its array."""
        return self.fields[0].dtype

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Where each field lies along the last axis."""
        if not self.is_flat:
            return {self.fields[0].name: slice(None)}
        slices, start = {}, 0
        for f in self.fields:
            slices[f.name] = slice(start, start + f.size)
            start += f.size
        return slices


@dataclass(frozen=True)
class ObservationSpec:
    """The declared layout of a world's observations."""

    groups: tuple[Group, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Group]:
        return {g.name: g for g in self.groups}

    def of_kind(self, kind: Kind) -> tuple[Group, ...]:
        return tuple(g for g in self.groups if g.kind == kind)

    def get(self, observations: Observations, group: str, name: str) -> np.ndarray:
        """The `[..., *field.shape]` part of one field; a view."""
        return observations[group][..., self.by_name[group].slices[name]]

    def lead(self, observations: Observations) -> tuple[int, ...]:
        """The batch shape `...` of these observations."""
        group = self.groups[0]
        shape = observations[group.name].shape
        return shape[: len(shape) - len(group.shape)]


@dataclass(frozen=True)
class WorldSpec:
    """All that the learner, the store and the experimenter may know of a world. No simulator behind it."""

    name: str
    objects: tuple[str, ...]  # names as they stand in captions, e.g. ('red', 'green', 'blue')
    observation: ObservationSpec
    actions: tuple[str, ...]  # names of the action dimensions; each runs over [-1, 1]
    control_hz: float
    episode_steps: int
    skill_steps: int
    starts: tuple[str, ...]  # names of start distributions; the first is the default
    cameras: tuple[str, ...]
    fingerprint: str  # hash of everything that shapes its data: episodes of other fingerprints do not mix
    encoder: Callable[[WorldSpec], Any] | None = None
    """Makes a `ludus.agents.encoders.ObservationEncoder`; a module's top-level function, so that it pickles. None: the
    default."""


# --- what a robot did --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """From control step `start` until the next segment (or the end) the robot was told `caption`."""

    start: int
    caption: str
    skill: str  # hash of the skill, see ludus.skills.library.Skill.hash
    reset: bool = False  # something was moved from outside at its start, so that what was done before led nowhere here


@dataclass(frozen=True)
class Episode:
    """What was seen and done; never whether it succeeded: rewards and success are functions of the observations."""

    id: str
    observations: Observations  # group -> [T+1, *shape] of the group's dtype
    actions: np.ndarray  # [T, A] float32 in [-1, 1]
    segments: tuple[Segment, ...]  # sorted by start; the first starts at 0
    actor: str  # who acted: 'teacher', 'policy', 'random', ...
    world: str  # WorldSpec.fingerprint
    seed: int  # the child seed of its reset
    start: str  # name of the start distribution
    snapshot: np.ndarray  # [S] float64: full simulator state before the first action, for exact replay; S = 0: unknown
    ended: Literal["time", "interrupted", "terminal"] = "time"  # terminal: the world said so, see `World.ended`
    info: Mapping[str, Any] = field(default_factory=dict)  # JSON: noise level, plan id, round, checkpoint, ...

    @property
    def n_steps(self) -> int:
        return len(self.actions)

    def segment_bounds(self) -> list[tuple[Segment, int, int]]:
        """`(segment, first step, one past the last step)`; observations of a segment are `[first : last + 1]`."""
        ends = [s.start for s in self.segments[1:]] + [self.n_steps]
        return [(s, s.start, end) for s, end in zip(self.segments, ends, strict=True)]


@dataclass(frozen=True)
class Outcome:
    """One segment, scored by its skill. Success at observations o[first+1 .. last] of the segment."""

    episode: str
    segment: int
    caption: str
    skill: str
    success_at_end: bool  # at the last observation of the segment
    success_once: bool  # at any observation after an action of the segment
    reward: float  # mean over the segment


@dataclass(frozen=True)
class SuccessCount:
    """Successes of one skill over n episodes; see `ludus.lab.analysis.wilson` for its interval."""

    caption: str
    skill: str
    n: int
    successes: int  # at the end of the skill
    successes_once: int  # at any observation of it


@dataclass(frozen=True)
class Batch:
    """A learner's batch of n-step transitions, each under one skill's reward."""

    observations: Observations  # [B, *shape]
    actions: np.ndarray  # [B, A] float32
    next_observations: Observations  # [B, *shape], up to n steps later (fewer at the end of a segment or trajectory)
    returns: np.ndarray  # [B] float32, sum_k gamma^k r_k over those steps
    discounts: np.ndarray  # [B] float32, gamma^(number of steps); 0 where they end in a terminal state
    skills: np.ndarray  # [B] int64, index into the captions the sampler was built with
    bc_mask: np.ndarray  # [B] bool: whether behaviour cloning imitates this action under this label


# --- what the experimenter says ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    task: str
    why: str
    success_probability: float  # stated by the proposer
    goal: str | None = None  # success expression, where the proposer can give one


@dataclass(frozen=True)
class Retrieval:
    """The skill for one free-form step, or a capability gap: `caption` is None and `missing` describes the skill."""

    step: str
    caption: str | None
    missing: str | None = None
    options: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    """Captions that were considered and how likely each fits, where the one asked says so."""


@dataclass(frozen=True)
class Plan:
    """A task, its steps and their skills. Executable only without gaps."""

    id: str
    proposal: Proposal
    steps: tuple[str, ...]
    retrievals: tuple[Retrieval, ...]

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(r.caption for r in self.retrievals if r.caption is not None)

    @property
    def gaps(self) -> tuple[Retrieval, ...]:
        return tuple(r for r in self.retrievals if r.caption is None)


Judgement = Literal["converged", "learning", "stuck", "unclear"]


@dataclass(frozen=True)
class Curve:
    """A learning curve: success rate of `n` episodes per point."""

    caption: str
    updates: tuple[int, ...]
    successes: tuple[int, ...]
    n: tuple[int, ...]


@dataclass(frozen=True)
class Verdict:
    caption: str
    judgement: Judgement
    probability: float  # that the judgement is right
    why: str


@dataclass(frozen=True)
class Message:
    """One line in the room. `key` makes a post idempotent: posting it again after a crash changes nothing."""

    key: str
    sender: str
    addressee: str  # a participant, or 'all'
    kind: str  # 'scene', 'proposal', 'plan', 'outcome', 'curve', 'verdict', 'note', ...
    text: str
    images: tuple[str, ...] = ()  # paths relative to the run directory
    payload: Mapping[str, Any] = field(default_factory=dict)  # JSON


def unknown(what: str, name: str, known: Sequence[str]) -> LudusError:
    """The one error for a name that is not there."""
    import difflib

    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(map(repr, near))}" if near else f"known: {', '.join(map(repr, known)) or 'none'}"
    return LudusError(f"unknown {what} {name!r}; {hint}")


def differences(there: Mapping[str, Any], here: Mapping[str, Any], at: str = "here") -> str:
    """Where two trees of settings differ, e.g. 'world.n_blocks=4 there, 3 here'; empty if nowhere."""
    old, new = _leaves(there), _leaves(here)
    differing = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    return "; ".join(f"{k}={_said(old.get(k))} there, {_said(new.get(k))} {at}" for k in differing)


def _leaves(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _leaves(value, f"{path}{name}.") if isinstance(value, Mapping) else {path + name: value}
    return leaves


def _said(value: Any) -> str:
    if value is None or value in ((), []):
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
