"""What a user says of a Gymnasium environment, and what follows for the world: layout of the observations, and `WorldSpec`."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ludus.skills.library import Skill
from ludus.skills.vocabulary import Predicate
from ludus.types import Field, Group, Kind, LudusError, ObservationSpec, WorldSpec, unknown
from ludus.worlds.from_gym.reading import Reading, action_size, one_sentence

LARGEST_BOUND = 1e6
"""A space's bound beyond it says nothing about the usual values: CartPole's velocities end at 3.4e38."""
ANY = "any"
"""The start that is one of several tasks, drawn by the seed."""
OTHER_VERSIONS = "mend it, or, where it needs other versions than are here, give them: gym_world(..., requirements=...)"
"""Where an environment cannot be made: simulators fail in odd places of their own under a newer MuJoCo."""
GOAL_KEYS = ("observation", "achieved_goal", "desired_goal")
TASK = Group(
    "task",
    "effector",
    (
        Field("reward", (1,), "1", "the environment's reward for the last action, 0 to 1"),
        Field("solved", (1,), "1", "1: the environment's own success"),
        Field("ended", (1,), "1", "1: the environment has terminated"),
    ),
)
"""What the environment itself says, beside what it shows. A world of several tasks also logs which it is, as one-hot, and
hides the group from networks: what is to be done is told by the caption."""

Success = str | Callable[[float, bool, Mapping[str, Any]], bool]
"""A key of the environment's info, or a function of reward, terminated and info."""


@dataclass(frozen=True)
class GymField:
    """Entries of an environment's observation. A discrete one counts as one-hot."""

    name: str
    at: int | slice | Sequence[int] | str | tuple[str, int | slice | Sequence[int]] | None = None
    """Index, indices or slice of the observation's flat entries, None: all; of a Dict: a key, or a key and those of its
    entries."""
    unit: str = "1"
    meaning: str = ""
    centre: float | Sequence[float] | None = None  # None: the middle of the space's bounds; 0 where it has none
    scale: float | Sequence[float] | None = None  # None: half their distance; 1 where it has none


@dataclass(frozen=True)
class GymGroup:
    """What belongs together: the robot, or one object. See `ludus.types.Group`."""

    name: str
    kind: Kind
    fields: tuple[GymField, ...]
    movable: bool = True


@dataclass(frozen=True)
class GymTask:
    """What of an environment is what: which entries belong to which object, what its reward and its success are.

    Raises:
        LudusError: rewards from and to where there is no range.
    """

    environment: str | Callable[..., gymnasium.Env]
    """Its id ('Pendulum-v1', 'package:Name-v0'), which is made without its time limit, or a function that makes one. Both get
    the world's options as keyword arguments."""
    rewards: tuple[float, float]
    """Lowest and highest reward of a step; `task_reward()` is 0 at the first, 1 at the second, and clipped."""
    groups: Sequence[GymGroup] = ()
    """Empty: a robot with all observations; in goal-conditioned Dict spaces also the objects 'achieved' (achieved_goal) and
    'desired' (desired_goal, which cannot be moved), each with a position."""
    success: Success | None = None
    """What `solved()` means: a key of info, or a function of (reward, terminated, info). None: 'is_success' in goal-conditioned
    spaces, elsewhere there is no such word."""
    skills: Sequence[Skill] = ()
    """The base library. Empty: 'solve the task', with reward task_reward() and success solved()."""
    predicates: Sequence[Predicate] = ()
    """Further words."""
    actions: Sequence[str] = ()
    """Names of the action dimensions. One for each entry of a Box, whose bounds are at -1 and 1; one for each choice of a
    Discrete space, of which the largest is taken."""
    control_hz: float = 0
    """Steps per second. 0: what the environment's `dt` says, else its render_fps."""
    episode_steps: int = 0
    """Of an episode. 0: the environment's time limit."""
    encoder: Callable[[WorldSpec], Any] | None = None
    """See `WorldSpec.encoder`; with one, reward, success and end are hidden."""
    name: str = ""
    """Of the world, or of one of its tasks; empty: the environment's. Part of the fingerprint: change it with what a function
    makes."""

    def __post_init__(self) -> None:
        if not self.name:
            own = (
                self.environment
                if isinstance(self.environment, str)
                else getattr(self.environment, "__name__", "environment")
            )
            object.__setattr__(self, "name", own)
        low, high = self.rewards
        if not -np.inf < low < high < np.inf:
            raise LudusError(f"rewards={self.rewards} of {self.name!r}: give the lowest and the highest, both finite")

    def make(self, options: Mapping[str, Any]) -> gymnasium.Env:
        """One environment, without a time limit if it is made by id.

        Raises:
            LudusError: it cannot be made.
        """
        with one_sentence(self.name, "being made", OTHER_VERSIONS):
            if isinstance(self.environment, str):
                return gymnasium.make(self.environment, max_episode_steps=-1, disable_env_checker=True, **options)
            return self.environment(**options)


def described(task: GymTask, space: spaces.Space) -> GymTask:
    """The description with the groups and the success that follow from the space of observations, where they were left out."""
    groups = task.groups
    is_goal = isinstance(space, spaces.Dict) and set(GOAL_KEYS) <= set(space.spaces)
    if not groups and is_goal:
        groups = (
            GymGroup("robot", "effector", (GymField("state", "observation"),)),
            GymGroup("achieved", "object", (GymField("position", "achieved_goal"),)),
            GymGroup("desired", "object", (GymField("position", "desired_goal"),), movable=False),
        )
    elif not groups:
        keys = list(space.spaces) if isinstance(space, spaces.Dict) else []
        groups = (GymGroup("robot", "effector", tuple(GymField(key, key) for key in keys) or (GymField("state"),)),)
    return replace(task, groups=groups, success="is_success" if task.success is None and is_goal else task.success)


def completed(task: GymTask, env: gymnasium.Env) -> GymTask:
    """The description with what the environment says of itself in place of what was left out.

    Raises:
        LudusError: what is needed is said by neither, or an episode is longer than the environment's own.
    """
    task = described(task, env.observation_space)
    dt = getattr(env.unwrapped, "dt", None)
    hz = task.control_hz or (1 / dt if isinstance(dt, float) and dt > 0 else env.metadata.get("render_fps") or 0)
    limit = env.spec and env.spec.max_episode_steps
    by_id = gymnasium.spec(env.spec.id).max_episode_steps if env.spec and isinstance(task.environment, str) else None
    steps = task.episode_steps or limit or by_id or 0
    for missing, argument in ((hz, "control_hz"), (steps, "episode_steps")):
        if not missing:
            raise LudusError(f"environment {task.name!r} does not say its {argument}; give GymTask({argument}=...)")
    if limit and steps > limit:
        raise LudusError(
            f"episode_steps={steps} of {task.name!r}, which ends after {limit}; give fewer, or make it with max_episode_steps=-1"
        )
    if not task.skills and task.success is None:
        raise LudusError(
            f"the description of {task.name!r} has no skills; give skills, or success for 'solve the task'"
        )
    skills = task.skills or [Skill("solve the task", "task_reward()", "solved()", steps)]
    return replace(task, control_hz=float(hz), episode_steps=steps, skills=skills)


def world_spec(
    task: GymTask, env: gymnasium.Env, observation: ObservationSpec, options: Mapping[str, Any]
) -> WorldSpec:
    """Of a completed description.

    Raises:
        LudusError: actions that cannot be taken from [-1, 1], or another number of names for them.
    """
    n = action_size(env.action_space, task.name)
    actions = tuple(task.actions) or tuple(f"action_{i}" for i in range(n))
    if len(actions) != n:
        raise LudusError(f"{len(actions)} names of actions for {n} dimensions of {task.name!r}; give one for each")
    return WorldSpec(
        name=task.name,
        objects=tuple(g.name for g in task.groups if g.kind == "object"),
        observation=observation,
        actions=actions,
        control_hz=task.control_hz,
        episode_steps=task.episode_steps,
        skill_steps=min(task.episode_steps, max(skill.steps for skill in task.skills)),
        starts=("reset",),
        cameras=(),
        fingerprint=_fingerprint(task, env, options),
        encoder=task.encoder,
    )


def joined(specs: Sequence[WorldSpec], name: str) -> WorldSpec:
    """Of a world of several tasks, from what each would be alone: a start for each, the first one any of them.

    Raises:
        LudusError: two of one name, or that differ in what they show, in their actions or in their control rate.
    """
    names = [spec.name for spec in specs]
    if len({word_of(n) for n in names}) < len(names):
        raise LudusError(f"tasks of {name!r} are called {', '.join(names)}; give each a name of its own")
    first = specs[0]
    for spec in specs[1:]:
        for what, same in ("observation", "groups, each with centre and scale"), ("actions", "names"), ("encoder", ""):
            if getattr(spec, what) != getattr(first, what):
                fix = f"give both the same {same or what}"
                raise LudusError(f"the {what} of {spec.name!r} and {first.name!r} differ; {fix}")
        if spec.control_hz != first.control_hz:
            raise LudusError(
                f"{spec.name!r} runs at {spec.control_hz:g} Hz, {first.name!r} at {first.control_hz:g}; give control_hz"
            )
    which = Field("which", (len(specs),), "1", f"one-hot: {', '.join(names)}")
    task = replace(TASK, fields=(*TASK.fields, which), hidden=True)
    together = hashlib.blake2b(" ".join(s.fingerprint for s in specs).encode(), digest_size=6)
    return replace(
        first,
        name=name,
        observation=ObservationSpec((*first.observation.groups[:-1], task)),
        episode_steps=max(s.episode_steps for s in specs),
        skill_steps=max(s.skill_steps for s in specs),
        starts=(ANY, *names),
        fingerprint=together.hexdigest(),
    )


def word_of(name: str) -> str:
    """The predicate that says whether a simulation is of this task: 'drawer-open-v3' -> 'drawer_open_v3'."""
    return re.sub(r"\W", "_", name)


def _fingerprint(task: GymTask, env: gymnasium.Env, options: Mapping[str, Any]) -> str:
    package = sys.modules.get(type(env.unwrapped).__module__.partition(".")[0])
    made = [
        *(task.name, str(env.observation_space), str(env.action_space), task.rewards, task.success, options),
        *(env.spec and (env.spec.id, env.spec.kwargs), gymnasium.__version__, getattr(package, "__version__", "")),
        *((g.name, f.name, str(f.at)) for g in task.groups for f in g.fields),
    ]
    text = json.dumps(made, default=lambda value: getattr(value, "__qualname__", type(value).__qualname__))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def layout(task: GymTask, space: spaces.Space) -> tuple[Reading, ObservationSpec]:
    """How a row is read from an observation, and what it means; the last columns are those of `TASK`.

    Raises:
        LudusError: a field of something that the space does not have, or that is no number.
    """
    entries, columns, groups = dict[str | None, np.ndarray](), list[np.ndarray](), list[Group]()
    for group in task.groups:
        fields = []
        for f in group.fields:
            key, at = _place(f, space, task.name)
            if key not in entries:
                source = space if key is None else space[key]  # type: ignore[index]  # a Dict
                entries[key] = _entries(source, sum(map(len, entries.values())), f, task.name)
            try:
                own = np.atleast_2d(entries[key][at])
            except IndexError as error:
                raise LudusError(
                    f"field {f.name!r} of {task.name!r} is at {f.at!r}: {error}; give entries that exist"
                ) from None
            columns.append(own[:, 0].astype(np.int64))
            centre, scale = own[:, 1] if f.centre is None else f.centre, own[:, 2] if f.scale is None else f.scale
            fields.append(
                Field(f.name, (len(own),), f.unit, f.meaning or f.name, centre=_plain(centre), scale=_plain(scale))
            )
        groups.append(Group(group.name, group.kind, tuple(fields), group.movable))
    if TASK.name in (g.name for g in groups):
        raise LudusError(
            f"a group of {task.name!r} is called {TASK.name!r}, as what the environment says itself; rename it"
        )
    own = replace(TASK, hidden=task.encoder is not None)
    return Reading(tuple(entries), np.concatenate(columns)), ObservationSpec((*groups, own))


def _place(f: GymField, space: spaces.Space, name: str) -> tuple[str | None, Any]:
    """The key of a Dict, or None, and which of the flat entries."""
    if not isinstance(space, spaces.Dict):
        if isinstance(f.at, str) or (isinstance(f.at, tuple) and isinstance(f.at[0], str)):
            raise LudusError(
                f"field {f.name!r} is at {f.at!r}, but the observations of {name!r} have no keys; give indices"
            )
        return None, slice(None) if f.at is None else list(f.at) if isinstance(f.at, tuple) else f.at
    key, at = f.at if isinstance(f.at, tuple) else (f.at, slice(None))
    if key not in space.spaces:
        raise unknown(f"key of the observations of {name!r}", str(key), tuple(map(str, space.spaces)))
    return str(key), at


def _entries(space: spaces.Space, start: int, f: GymField, name: str) -> np.ndarray:
    """`[n, 3]`: places of a space's flat entries from `start` on, their centres and scales from the bounds."""
    try:
        box = spaces.flatten_space(space)
    except NotImplementedError:  # Gymnasium's answer for a space it cannot flatten; refused below
        box = space
    if not isinstance(box, spaces.Box):
        raise LudusError(f"field {f.name!r} of {name!r} is {space}, no array of numbers; choose others by groups=...")
    low, high = (np.where(np.abs(b) < LARGEST_BOUND, b, np.nan).astype(np.float64) for b in (box.low, box.high))
    centre, scale = (low + high) / 2, np.where(low < high, (high - low) / 2, np.nan)
    return np.column_stack([start + np.arange(len(low)), np.nan_to_num(centre), np.nan_to_num(scale, nan=1)])


def _plain(value: Any) -> float | tuple[float, ...]:
    return tuple(map(float, value)) if np.ndim(value) else float(value)
