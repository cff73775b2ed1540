"""When a skill is over and what comes next: fixed durations, or success, stall and time limit (`experiment.switching`).

With fixed durations a skill lasts the control steps that it declares. With conditional switching it is over as soon as its
success has held for some time (a flicker does not count), when its reward has stopped rising and another skill follows, or when
its time is up. The time that a skill leaves over is added to the next one's: a sequence never takes longer than with fixed
durations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np

from ludus.lab.program import Do, Program, check, conditions_of, most_steps, walk
from ludus.lab.rollout import RolloutSpec
from ludus.skills import expression
from ludus.skills.library import SkillLibrary
from ludus.types import Observations, WorldSpec

Ending = Literal["success", "stall", "time", "terminal"]
"""Why a skill was over; terminal: the world's episode had ended."""


def rollout_steps(rollout: RolloutSpec, library: SkillLibrary, spec: WorldSpec) -> int:
    """Control steps of its episode, at most; with fixed durations and without conditions, exactly.

    Raises:
        LudusError: an unknown caption.
    """
    program = tuple(map(Do, rollout.captions)) if rollout.program is None else rollout.program
    return min(most_steps(program, library), spec.episode_steps)


def first_held(success: np.ndarray, n: int) -> int | None:
    """The first index from which `success` `[T]` holds n times in a row (or to the end, if less is left); None: nowhere."""
    since = None
    for t, holds in enumerate(success):
        since = (t if since is None else since) if holds else None
        if since is not None and t - since + 1 >= n:
            return since
    return since


class Watch:
    """How the present skill of each of n robots goes: how long its success has held, its reward has not risen, and how many
    control steps it has left.

    Args:
        hold: `[n]` control steps that success must hold for a skill to be over by it.
        stall: `[n]` control steps without a rise of the reward after which it is over; 0: never.
        gain: `[n]` least rise of the reward that counts.
    """

    def __init__(self, hold: np.ndarray, stall: np.ndarray | None = None, gain: np.ndarray | None = None) -> None:
        n = len(hold)
        self._hold = hold
        self._stall, self._gain = (np.zeros(n) if a is None else a.copy() for a in (stall, gain))
        self.left = np.zeros(n, int)
        self._held, self._flat, self._best = np.zeros(n, int), np.zeros(n, int), np.zeros(n)

    def start(self, robot: int, steps: int) -> None:
        """A skill begins that may last so many control steps."""
        self.left[robot], self._held[robot], self._flat[robot], self._best[robot] = steps, 0, 0, -np.inf

    def go_on(self, robot: int) -> None:
        """The robot has nothing else to do: no stall ends a skill of it any more."""
        self._stall[robot] = 0

    def see(self, success: np.ndarray, reward: np.ndarray | None = None) -> None:
        """Take note of `[n]` success and reward of the present skills, once after each control step."""
        self.left -= 1
        self._held = np.where(success, self._held + 1, 0)
        if reward is not None:
            rises = reward > self._best + self._gain
            self._best = np.where(rises, reward, self._best)
            self._flat = np.where(rises, 0, self._flat + 1)

    @property
    def succeeded(self) -> np.ndarray:
        """`[n]` bool: success has held for long enough."""
        return self._held >= self._hold

    @property
    def stalled(self) -> np.ndarray:
        """`[n]` bool: success does not hold, and the reward has not risen for long enough."""
        return (self._stall > 0) & (self._flat >= self._stall) & (self._held == 0)

    @property
    def timed_out(self) -> np.ndarray:
        """`[n]` bool: no control step is left."""
        return self.left <= 0


class Commands:
    """What each of n robots is told from step to step, and what it was told. A robot's commands depend on its own rollout and
    observations only.

    Args:
        rollouts: n.

    Raises:
        LudusError: a rollout without captions, an unknown caption, a program that cannot be carried out.
    """

    def __init__(self, rollouts: Sequence[RolloutSpec], library: SkillLibrary, spec: WorldSpec) -> None:
        self._library, hz = library, spec.control_hz
        programs: list[Program] = [
            tuple(map(Do, r.captions)) if r.program is None else check(r.program, library) for r in rollouts
        ]
        self._limits = [rollout_steps(r, library, spec) for r in rollouts]
        self._conditions = _Conditions(programs, library)
        self._next = [walk(p, partial(self._conditions.hold, i)) for i, p in enumerate(programs)]
        self._first = [r.captions[0] for r in rollouts]
        rules = [r.switching for r in rollouts]
        self._conditional = np.array([rule is not None for rule in rules])
        self._hold_last = [rule is not None and rule.hold_last for rule in rules]
        in_steps = [(0, 0, 0.0) if r is None else (r.hold_s * hz, r.stall_s * hz, r.stall_gain) for r in rules]
        hold, stall, gain = np.array(in_steps).T
        self._watch = Watch(np.maximum(1, np.round(hold)), np.round(stall), gain)
        self.now: list[str] = list(self._first)
        """Captions: of a robot whose episode is over, the last."""
        self.segments: list[list[tuple[int, str]]] = [[] for _ in rollouts]
        """Per robot: `(first step, caption)` of each skill so far."""
        self.endings: list[list[Ending]] = [[] for _ in rollouts]
        """Per robot: why each skill so far was over."""
        self.lengths = np.zeros(len(rollouts), int)
        """Control steps of each episode; 0: not over yet."""
        self.terminal = np.zeros(len(rollouts), bool)
        """Per robot: whether its episode was over because the world said so."""

    @property
    def most_steps(self) -> int:
        """Control steps after which all episodes are over."""
        return max(self._limits)

    @property
    def running(self) -> np.ndarray:
        """`[n]` bool: robots whose episode is not over."""
        return self.lengths == 0

    def begin(self, observations: Observations) -> None:
        """The first commands, as these first observations `[E, size]` (E >= n) demand."""
        self._conditions.see(observations)
        for i in range(len(self.now)):
            self._advance(i, 0)

    def see(self, t: int, observations: Observations, ended: np.ndarray | None = None) -> None:
        """The next commands, after `t` control steps have led to these observations.

        Args:
            ended: `[n]` bool, robots whose episode is over whatever they were told; None: none.
        """
        if ended is not None and ended.any():
            self._end(t, np.flatnonzero(ended & (self.lengths == 0)))
        running = np.flatnonzero(self.lengths == 0)
        self._conditions.see(observations)
        success, reward = self._scores(running, observations)
        watch = self._watch
        watch.see(success, reward)
        succeeded, stalled, timed_out = watch.succeeded, watch.stalled, watch.timed_out
        for i in map(int, running):
            late = timed_out[i] or t >= self._limits[i]
            if late or succeeded[i] or stalled[i]:
                self._advance(i, t, "success" if succeeded[i] else "time" if late else "stall")

    def _end(self, t: int, robots: np.ndarray) -> None:
        self.lengths[robots], self.terminal[robots] = t, True
        for i in robots:
            self.endings[i].append("terminal")

    def _advance(self, i: int, t: int, why: Ending | None = None) -> None:
        """Robot i's next skill, `why` the one before it is over; the end of its episode if there is none, or no time."""
        caption = next(self._next[i], None) if t < self._limits[i] else None
        if caption is None and why == "stall":
            self._watch.go_on(i)
            return
        if why is not None and len(self.endings[i]) < len(self.segments[i]):
            self.endings[i].append(why)
        if caption is None and t == 0:
            # An episode has at least one step: of a program that has nothing to do, one step of its first skill.
            caption, self._limits[i] = self._first[i], 1
        if caption is not None:
            left = max(0, self._watch.left[i]) if self._conditional[i] else 0
            self._watch.start(i, left + self._library[caption].steps)
            self.segments[i].append((t, caption))
            self.now[i] = caption
        elif self._hold_last[i] and t < self._limits[i]:
            self._conditional[i] = False
            self._watch.start(i, self._limits[i] - t)
        else:
            self.lengths[i] = t

    def _scores(self, running: np.ndarray, observations: Observations) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` success and reward of the present skills of robots that switch conditionally; of the others, false and 0."""
        success, reward = np.zeros(len(self.now), bool), np.zeros(len(self.now))
        rows = [i for i in running if self._conditional[i]]
        if rows:
            captions = sorted({self.now[i] for i in rows})
            # All rows at once, so that terms that skills share are computed once.
            rewards, successes = self._library.score(observations, captions)
            for i in rows:
                k = captions.index(self.now[i])
                success[i], reward[i] = successes[k, i], rewards[k, i]
        return success, reward


class _Conditions:
    """Values of the conditions of n programs at the latest observations; each is computed for all robots when the first asks."""

    def __init__(self, programs: Sequence[Program], library: SkillLibrary) -> None:
        texts = {text for program in programs for text in conditions_of(program)}
        self._parsed = {text: expression.parse(text, library.vocabulary) for text in texts}

    def see(self, observations: Observations) -> None:
        self._observations, self._values = observations, {}

    def hold(self, robot: int, text: str) -> bool:
        if text not in self._values:
            self._values[text] = self._parsed[text].evaluate(self._observations)
        return bool(self._values[text][robot])
