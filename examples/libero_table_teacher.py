"""The scripted teacher of libero_table.py: grasps from above and of rims, drawers are hooked, a plate dragged, a knob turned.

The clean action is a function of what is seen and of the caption; the noise on it is that of the built-in table's teacher.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np

from ludus import LudusError, WorldSpec
from ludus.worlds import files
from ludus.worlds.blocks.noise import Noise

words, _ = files.load(Path(__file__).with_name("libero_table_words.py"))
libero = words.libero

KNOWN = {"put": re.compile(r"put (?:the )?(.+) (?:on|in) (?:the )?(.+)"), "push": re.compile(r"push (?:the )?(.+) to the (.+)"),
         "pull": re.compile(r"open the (.+)"), "turn": re.compile(r"turn the (.+) (on|off)")}  # fmt: skip
HOVER_M = 0.06  # above a thing before it is grasped
NEAR_M, OVER_M, ALIGNED_RAD = 0.01, 0.016, 0.12  # sideways, and turned: near enough to go down and grasp; to let go
BESIDE_M = 0.2  # the cabinet, or its drawers
# above where it goes, what does not topple is let go; above the rack, whose back is in the way
LOW_M, DROP_M = 0.012, 0.06
CLEAR_M, TRAVEL_M = 0.03, 0.10  # of the lowest point of what is carried, above where it goes and above the table
# sideways, while the pads close; of a thing's size, less than that is between them when it was missed
CLOSING_M, MISSED = 0.035, 0.7
FLOOR_M = -0.004  # of the point between the pads: lower, they would touch the table
# where a rim is grasped: inside of its edge, in a drawer, below its top
WALL_M, DRAWER_WALL_M, DEEP_M = 0.008, 0.03, 0.012
LEFT_RAD = 0.9  # the hand turns so far to the right, and from there half a turn to the left
RAISED = ("cabinet", "top drawer", "middle drawer", "bottom drawer")  # over them the hand stays high
HAND_M, FINGERS_M = (0.105, 0.025), (0.06, 0.012)  # half of them along what they close along, and across
PALM_M, TIPS_M, UP_M = 0.03, -0.008, 0.1  # where hand and fingers begin and end, above the point between the pads
ROOM_M, REACH_M = 0.008, 0.7  # around the hand, more is no better; from the base, farther is worse
NECK_M = 0.018  # below the top of a bottle
BEHIND_M, ABOVE_M, BACK_M = 0.015, 0.008, 0.06  # of a handle: where the fingers hook in; how far before that they begin
LEANT_RAD = 0.75  # enough of it to hook in
KNOB_LEAN, TURNED_RAD = 0.6, 0.7  # of the action; of a knob that is on
OUT_M, ROOMY_M = 0.15, 0.12  # of a drawer that is open; enough to put something in, and room for the hand before it
# of a plate's middle, where the fingers press on it; above its bottom, where they are told to go
AHEAD_M, PRESS_M = 0.03, 0.009
NEARER_M = 0.05  # than the middle of the cabinet
RACK_M = np.array([0, -0.06]), np.array([0.135, 0.09])  # from its lower edge to its middle; half of its edges
UP_RACK_M = 0.05  # up the rack's slope from its lower edge


class Teacher:
    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec

    def begin(self, seeds: Sequence[int], noise: np.ndarray, random_mask: np.ndarray) -> None:
        self.noise = Noise(seeds, np.asarray(noise, np.float64), np.asarray(random_mask), self.spec.episode_steps, 6)

    def obeys(self, caption: str) -> bool:
        return any(known.fullmatch(caption) for known in KNOWN.values())

    def act(self, o: dict[str, np.ndarray], captions: Sequence[str]) -> np.ndarray:
        clean = [self.clean({g: a[i] for g, a in o.items()}, caption) for i, caption in enumerate(captions)]
        return self.noise.disturb(np.stack(clean)).astype(np.float32)

    def clean(self, o: dict[str, np.ndarray], caption: str) -> np.ndarray:
        """`[6]` without noise, from `[size]` per group."""
        for name, known in KNOWN.items():
            if found := known.fullmatch(caption):
                ways: dict[str, Callable[..., np.ndarray]] = {"put": put, "push": push, "pull": pull, "turn": turn}
                return ways[name](Sight(self.spec, o), *found.groups())
        raise LudusError(
            f"the teacher does not know {caption!r}; it knows 'put X on Y', 'push X to the Y', 'open the X', ..."
        )


class Sight:
    """One observation, read by name."""

    def __init__(self, spec: WorldSpec, o: dict[str, np.ndarray]) -> None:
        self.spec, self.o, self.things = spec.observation, o, [g.name for g in spec.observation.of_kind("object")]
        self.hand, self.command = self("gripper", "position"), float(self("gripper", "command")[0])
        self.yaw, self.lean = float(self("gripper", "yaw")[0]), float(self("gripper", "lean")[0])
        self.seen = [x for x in self.things if self(x, "present")[0] > 0.5]
        self.edges = cache(partial(libero.lying, self.spec, o))

    def __call__(self, x: str, name: str = "position") -> np.ndarray:
        return self.spec.get(self.o, x, name)

    def turned(self, x: str) -> float:
        w, _, _, z = self(x, "quaternion")
        return 2 * float(np.arctan2(z, w))

    def bottom(self, x: str) -> float:
        return float(self(x)[2] - self.edges(x)[2] / 2)

    def top(self, x: str) -> float:
        return float(self(x)[2] + self.edges(x)[2] / 2)

    def held(self, x: str) -> bool:
        return bool(libero.held(self.spec, self.o, x)) and self.command > 0.9

    def rests(self, x: str, y: str) -> bool:
        return bool(words.on(self.spec, self.o, x, y))

    @cached_property
    def solids(self) -> dict[str, tuple[np.ndarray, np.ndarray, float, float]]:
        """Of what is there: middle and half of its edges, `[2]` each, lowest and highest point. m."""
        found = {x: (self(x)[:2], self.edges(x)[:2] / 2, self.bottom(x), self.top(x)) for x in self.seen}
        if "cabinet" in found:  # what is seen of these is where things are put on them
            found["cabinet"] = *found["cabinet"][:2], 0.0, self.top("cabinet")
        if "rack" in found:
            found["rack"] = self("rack")[:2] + RACK_M[0], RACK_M[1], 0.0, self.top("rack") + 0.1
        return found

    @property
    def released(self) -> bool:
        return self.command < -0.9


def go(way: Sequence[float], turn: float = 0, grip: float = -1, lean: float = -1) -> np.ndarray:
    return np.clip([*np.asarray(way, float) / libero.STEP_M, turn / libero.TURN_RAD, lean, grip], -1, 1)


# --- put -----------------------------------------------------------------------------------------------------------------


def put(s: Sight, x: str, y: str) -> np.ndarray:
    if "drawer" in y and not s.held(x):
        if s(y, "opening")[0] < (ROOMY_M if s.lean > LEANT_RAD / 2 else ROOMY_M - 0.02):
            return pull(s, y)
        if s.lean > 0.2 and np.linalg.norm(s.hand - s(y)) < 0.1:
            return unhook(s, y)
    place, low = goal(s, x, y)
    leans = y == "rack" and x.startswith("wine")
    low += DROP_M if y == "rack" else LOW_M * (not x.startswith("wine"))
    down = not leans and np.hypot(*(place - s(x)[:2])) < 1.5 * OVER_M and s.bottom(x) < low
    if s.rests(x, y) or down:
        # what leans on the rack is held there
        return leave(s, x) if not leans or s.command < 0 else go([0, 0, -0.004], 0, 1)
    # over what stands before an open drawer the hand leans, as it does over the handle
    lean = 1 if "drawer" in y and x.startswith("bowl") else -1
    return carry(s, x, y, lean) if s.held(x) else grasp(s, x, y, lean)


def leave(s: Sight, x: str) -> np.ndarray:
    """Let go, then up and out of the way."""
    return go([0, 0, max(s.top(x) + 2 * HOVER_M - s.hand[2], 0) * s.released])


def goal(s: Sight, x: str, y: str) -> tuple[np.ndarray, float]:
    """Where the centre of X is to come over Y `[2]`, and how high its lowest point may be there at least."""
    place = s(y)
    if y == "rack":  # its slope rises against y at 62 degrees from the vertical
        return place[:2] + UP_RACK_M * np.array([0, -0.887]), float(place[2] + 0.462 * UP_RACK_M)
    if "drawer" in y:  # behind its handle
        angle = s.turned(y)
        behind = 0.038 + (s(y, "opening")[0] - 0.014) / 2  # the middle of what is out
        return place[:2] - behind * np.array([-np.sin(angle), np.cos(angle)]), float(place[2] - 0.022)
    if y == "cabinet":  # on the near side, which is in reach
        return place[:2] * (1 - NEARER_M / np.hypot(*place[:2])), s.top(y)
    low = s.bottom(y) + 0.004 if y in ("plate", "bowl 1", "bowl 2") else s.top(y)
    return place[:2], low


def rim(s: Sight, y: str) -> float:
    """The highest of what surrounds the place."""
    return s(y)[2] + 0.04 if "drawer" in y else s.top(y) + (0.07 if y == "rack" else 0)


def over_raised(s: Sight, at: np.ndarray) -> float:
    """How high the cabinet and its drawers reach near a place. m."""
    near = [rim(s, z) for z in RAISED if z in s.seen and np.hypot(*(s(z) - at)[:2]) < BESIDE_M]
    return max(near, default=-np.inf)


def carry(s: Sight, x: str, y: str, lean: float) -> np.ndarray:
    place, low = goal(s, x, y)
    over, bottom = place - s(x)[:2], s.bottom(x)
    off, high = np.hypot(*over), max(rim(s, y), TRAVEL_M - CLEAR_M if bottom < TRAVEL_M else -np.inf)
    if bottom > TRAVEL_M:
        high = max(high, over_raised(s, s(x)))
    rise = high + CLEAR_M - bottom
    if off > OVER_M:
        near = off < 0.05  # small errors are corrected on the way down
        return go([*over * (rise < CLEAR_M / 2 or near), max(rise, 0) * (not near or rise > CLEAR_M)], 0, 1, lean)
    return go([*over, max(low - bottom, -0.03) - 0.005], 0, 1, lean)


def grasp(s: Sight, x: str, y: str, lean: float) -> np.ndarray:
    place, turned, deep = by_rim(s, x, y, lean > 0) if x.startswith(("bowl", "plate")) else by_box(s, x)
    way, top = place - s.hand[:2], s.top(x)
    off = np.hypot(*way)
    missed = s("gripper", "width")[0] < MISSED * s(x, "size")[0]
    if s.command > -0.9 and not missed and s.hand[2] < deep + 2 * NEAR_M and off < CLOSING_M:
        return go([0, 0, max(deep, FLOOR_M) - s.hand[2]], 0, 1, lean)  # it moves while the pads close
    if s.command > -0.9 and s.hand[2] < top + HOVER_M / 2:
        return go([0, 0, HOVER_M], 0, -1, lean)
    if off > NEAR_M or abs(turned) > ALIGNED_RAD:
        low = s.hand[2] < top + HOVER_M / 2 and off > 2 * NEAR_M
        up = max(top + HOVER_M, over_raised(s, s.hand) + HOVER_M if off > 5 * NEAR_M else -np.inf)
        out = np.hypot(*s.hand[:2]) > REACH_M - 0.05 and way @ s.hand[:2] > 0
        slow = 0.4 if out else 1  # an arm that is stretched comes back slowly
        return go([*np.clip(way, -libero.STEP_M, libero.STEP_M) * slow * (not low), up - s.hand[2]], turned, -1, lean)
    down = max(deep, FLOOR_M) - s.hand[2]
    return go([*way, down], turned, 1 if down > -0.006 else -1, lean)


def by_box(s: Sight, x: str) -> tuple[np.ndarray, float, float]:
    """Place `[2]`, turn and height of a grasp of a box, or of a bottle's neck."""
    edges, error = s(x, "edges"), s.turned(x) - s.yaw
    fits = [error + k * np.pi / 2 for k in range(-4, 5) if edges[(1 + k) % 2] < libero.FITS_M]
    deep = s.top(x) - NECK_M if edges[2] > 0.1 else max(s.top(x) - libero.DEEP_M, float(s(x)[2]))
    return s(x)[:2], min(fits, key=abs, default=0.0), deep


def by_rim(s: Sight, x: str, y: str, leant: bool) -> tuple[np.ndarray, float, float]:
    """Place `[2]`, turn and height of a grasp of a round thing's wall: on the side of the base if there is room, so that it is
    in reach there and over Y; in a drawer, and leaning before one, along its front."""
    drawer, (to, low) = next((z for z in s.seen if "drawer" in z and s.rests(x, z)), None), goal(s, x, y)
    near, ways, wall = np.arctan2(-s(x)[1], -s(x)[0]), np.pi / 4 * np.array([0, 1, -1, 2, -2]), WALL_M
    if drawer is not None or leant:
        near, ways = s.turned(drawer or y) + np.pi, np.zeros(1)
        wall = DRAWER_WALL_M if drawer else WALL_M
    deep, radius = s.top(x) - DEEP_M, s(x, "edges")[:2].max() / 2 - wall
    sides = np.stack([np.cos(near + ways), np.sin(near + ways)], -1)
    places = s(x)[:2] + radius * sides
    far = np.maximum(np.hypot(*places.T), np.hypot(*(to + radius * sides).T))
    there = low + deep - s.bottom(x)
    rooms = np.array([min(room(s, (x,), place, side, deep), room(s, (x, y), to + radius * side, side, there))
                      for place, side in zip(places, sides, strict=True)])  # fmt: skip
    best = int(np.argmax(rooms - np.maximum(far - REACH_M, 0) - 0.002 * np.abs(ways)))
    aim = (near + ways[best] - np.pi / 2 + LEFT_RAD) % np.pi - LEFT_RAD  # the same for both fingers
    return places[best], aim - s.yaw, deep


def room(s: Sight, spared: Sequence[str], place: np.ndarray, side: np.ndarray, deep: float) -> float:
    """How much room there is around hand and fingers over a place, at most ROOM_M, but for what is `spared`. m."""
    across, gap = np.array([-side[1], side[0]]), ROOM_M
    for (long, wide), begin in ((HAND_M, PALM_M), (FINGERS_M, TIPS_M)):
        steps = [(a * long, b * wide) for a in (-1, -0.5, 0, 0.5, 1) for b in (-1, 1)]
        grid = np.stack([place + a * side + b * across for a, b in steps])
        for x, (at, half, bottom, top) in s.solids.items():
            if x not in spared and top > deep + begin and bottom < deep + UP_M:
                gap = min(gap, float((np.abs(grid - at) - half).max(-1).min()))
    return gap


# --- push, pull, turn ----------------------------------------------------------------------------------------------------


def push(s: Sight, x: str, y: str) -> np.ndarray:
    """What has no rim is carried; a plate is dragged by closed fingers that press on it, against the rim that is ahead."""
    if x != "plate":
        return put(s, x, y)
    way = (s(y) - s(x))[:2]
    far = np.hypot(*way)
    if far < 0.015 or (s.rests(x, y) and far < 0.025):
        return go([0, 0, max(0.2 - s.hand[2], 0)], 0, 1)
    place = s(x)[:2] + AHEAD_M * way / far
    off, low = place - s.hand[:2], s.hand[2] < s.bottom(x) + 0.025
    if low and np.hypot(*(s.hand - s(x))[:2]) < s(x, "edges")[0] / 2:
        return go([*(libero.STEP_M * way / far), s.bottom(x) + PRESS_M - s.hand[2]], 0, 1)
    if np.hypot(*off) > NEAR_M or s.command < 0.9:
        return go([*off * (not low), s.top(x) + HOVER_M - s.hand[2]], 0, 1)
    return go([*off, s.bottom(x) + PRESS_M - s.hand[2]], 0, 1)


def pull(s: Sight, x: str) -> np.ndarray:
    """Hook the closed fingers in behind the handle, leaning, and draw."""
    angle = s.turned(x)
    out, along = np.array([-np.sin(angle), np.cos(angle), 0]), np.array([np.cos(angle), np.sin(angle), 0])
    if s(x, "opening")[0] > OUT_M:
        return unhook(s, x)
    turned = (angle + np.pi / 2 - s.yaw + np.pi) % (2 * np.pi) - np.pi
    way = s.hand - s(x)
    depth, high, beside = way @ out, way[2], way @ along
    behind = -0.03 < depth < 0.002 and high < ABOVE_M + 0.016 and abs(beside) < 0.03
    if behind and s.lean > LEANT_RAD - 0.15:
        return go([*0.5 * libero.STEP_M * out[:2], ABOVE_M - high], turned, 1, 1)
    hook = s(x) - BEHIND_M * out + np.array([0, 0, ABOVE_M])
    back = np.sin(0.9) * out + np.array([0, 0, np.cos(0.9)])  # against where the fingers point
    far = s.hand - hook
    before, off = far @ back, np.linalg.norm(far - (far @ back) * back)
    ready = s.lean > LEANT_RAD and abs(turned) < ALIGNED_RAD and s.command > 0.9
    if ready and off < NEAR_M and before < BACK_M + 0.02:
        return go(2 * (hook - s.hand), turned, 1, 1)
    aim = hook + BACK_M * back - s.hand
    if s.hand[2] < 0.25 and np.hypot(*aim[:2]) > 0.12:
        aim[:2] = 0  # first above what stands about
        aim[2] = 0.28 - s.hand[2]
    return go(aim, turned, 1, 1)


def unhook(s: Sight, x: str) -> np.ndarray:
    """Up from behind the handle before the hand is righted."""
    high = s.hand[2] - s(x)[2]
    return go([0, 0, libero.STEP_M * (high < 0.1)], 0, 1, 1 if high < 0.06 else -1)


def turn(s: Sight, x: str, way: str) -> np.ndarray:
    """Grasp the knob's grip and turn it, leaning: upright, the arm cannot fold so far."""
    angle, sign = float(s(x, "angle")[0]), 1 if way == "on" else -1
    if (angle > TURNED_RAD) if sign > 0 else (angle < -0.002):
        return go([0, 0, max(s(x)[2] + 2 * HOVER_M - s.hand[2], 0) * s.released], 0, -1, KNOB_LEAN)
    error = (s.turned(x) - s.yaw + np.pi / 2) % np.pi - np.pi / 2
    off = s(x)[:2] - s.hand[:2]
    low = s.hand[2] < s(x)[2] + 0.03
    if s.command > -0.9 and low and np.hypot(*off) < 0.03:
        return go([*off, s(x)[2] - s.hand[2]], 0.5 * sign if s.command > 0.9 else 0, 1, KNOB_LEAN)
    if np.hypot(*off) > NEAR_M or abs(error) > ALIGNED_RAD:
        return go([*off * (not low), s(x)[2] + 0.02 + HOVER_M - s.hand[2]], error, -1, KNOB_LEAN)
    down = s(x)[2] + 0.005 - s.hand[2]
    return go([*off, down], error, 1 if down > -0.008 else -1, KNOB_LEAN)
