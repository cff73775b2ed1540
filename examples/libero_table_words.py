"""What libero_table.py shows and what can be asked of it: objects, predicates and skills. No simulator is needed here.

Positions are metres from the robot's base, x ahead and z up; the table is at -0.013. What a scene does not have has `present` 0
and lies far below the floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import ludus
from ludus import Field, Group, ObservationSpec, Skill, predicate
from ludus.skills.predicates.measures import offset, tcp_distance
from ludus.worlds import files

libero, _ = files.load(Path(__file__).with_name("libero.py"))  # by its path: LIBERO's own package has the same name

STEPS, LONG_STEPS = 220, 300  # of a skill; as many as are usual for the spatial and for the goal suite

# --- what there is to see ----------------------------------------------------------------------------------------------

NAMES = {"akita_black_bowl_1": "bowl 1", "akita_black_bowl_2": "bowl 2", "plate_1": "plate", "cookies_1": "cookie box",
         "glazed_rim_porcelain_ramekin_1": "ramekin", "cream_cheese_1": "cream cheese",
         "wine_bottle_1": "wine bottle"}  # fmt: skip
PLACES = {"flat_stove_1_cook_region": "stove", "wooden_cabinet_1_top_side": "cabinet", "wine_rack_1_top_region": "rack",
          "main_table_stove_front_region": "stove front"}  # fmt: skip
DRAWERS = tuple(f"{layer} drawer" for layer in ("top", "middle", "bottom"))
REGIONS = {f"wooden_cabinet_1_{x.split()[0]}_region": x for x in DRAWERS}  # what is in them
KNOB = "stove knob"
MOVABLE = tuple(NAMES.values())
OBJECTS = (*MOVABLE, *PLACES.values(), *DRAWERS, KNOB)
TARGETS = {name: x for name, x in {**NAMES, **PLACES, **REGIONS}.items() if x not in ("cookie box", "ramekin")}
RESTS = tuple(TARGETS.values())  # what things are put on or in

POSE = (Field("position", 3, "m", "centre of its box; of a drawer, of its handle; of a place, of its area", centre=(0.5, 0, 0.05),
              scale=0.2),
        Field("quaternion", 4, "1", "(w, x, y, z) of its turn since it stood in the first official state; of a drawer, from "
              "opening along y; of the knob, from off"),
        Field("size", 1, "m", "of what the pads close on", scale=0.1),
        Field("edges", 3, "m", "of its box as it stood, along x, y, z", scale=0.1),
        Field("touch_left", 1, "1", "1 if the left finger touches it"),
        Field("touch_right", 1, "1", "1 if the right finger touches it"),
        Field("present", 1, "1", "0 if this scene has no such thing"))  # fmt: skip
REST = Field("rests", len(RESTS), "1", f"1 where LIBERO's On or In holds of it and {', '.join(RESTS)}")
OPENING = (Field("opening", 1, "m", "how far it is out", scale=0.1), Field("open", 1, "1", "by LIBERO's Open"))
TURNING = (Field("angle", 1, "rad", "turned from off"), Field("on", 1, "1", "by LIBERO's Turnon"),
           Field("off", 1, "1", "by LIBERO's Turnoff"))  # fmt: skip
HAND = (*libero.GRIPPER[:2], Field("lean", 1, "rad", "of the fingers from the vertical"), *libero.GRIPPER[2:])
SEEN = ObservationSpec((Group("gripper", "effector", HAND),
                        *(Group(x, "object", (*POSE, REST)) for x in MOVABLE),
                        *(Group(x, "object", POSE, movable=False) for x in PLACES.values()),
                        *(Group(x, "object", (*POSE, *OPENING), movable=False) for x in DRAWERS),
                        Group(KNOB, "object", (*POSE, *TURNING), movable=False)))  # fmt: skip


def flag(spec, o, x, name, i=0):
    """`[...]` bool of a field that X may lack."""
    if name not in spec.by_name[x].slices:
        return np.zeros(spec.lead(o), bool)
    return spec.get(o, x, name)[..., i] > 0.5


@predicate("bool", ("lifted", (0,)))
def on(spec, o, x, y):
    """X is on or in Y, by LIBERO's own check."""
    return flag(spec, o, x, "rests", RESTS.index(y)) if y in RESTS else np.zeros(spec.lead(o), bool)


@predicate("bool")
def is_open(spec, o, x):
    """The drawer X is open, by LIBERO's own check."""
    return flag(spec, o, x, "open")


@predicate("bool")
def turned_on(spec, o, x):
    """The knob X is turned on, by LIBERO's own check."""
    return flag(spec, o, x, "on")


@predicate("bool")
def turned_off(spec, o, x):
    """The knob X is turned off, by LIBERO's own check."""
    return flag(spec, o, x, "off")


@predicate("real")
def opening(spec, o, x):
    """How far the drawer X is out, metres."""
    return spec.get(o, x, "opening")[..., 0] if x in DRAWERS else np.zeros(spec.lead(o), np.float32)


@predicate("real")
def angle(spec, o, x):
    """How far the knob X is turned from off, radians."""
    return spec.get(o, x, "angle")[..., 0] if x == KNOB else np.zeros(spec.lead(o), np.float32)


WORDS = ludus.Vocabulary(SEEN, OBJECTS, (tcp_distance, libero.height, offset, libero.present, libero.held, libero.lifted, on,
                                         is_open, turned_on, turned_off, opening, angle, libero.solved))  # fmt: skip


def put(x: str, y: str) -> Skill:
    """X is put on or in Y. A drawer is opened first."""
    steps = LONG_STEPS if y in DRAWERS or x not in ("bowl 1", "bowl 2") else STEPS
    lift = f"shape(tcp_distance('{x}'), 0.2), held('{x}') * clip(height('{x}') / 0.15, 0.1, 1)"
    carry = f"lifted('{x}') * shape(offset('{x}', '{y}'), 0.3)"
    first = f"clip(opening('{y}') / 0.15, 0, 1), " if y in DRAWERS else ""
    success = f"on('{x}', '{y}')"
    return Skill(caption("on", x, y), f"staged({first}{lift}, {carry}, {success})", success, steps,
                 prerequisites=f"present('{x}') and present('{y}')")  # fmt: skip


def push(x: str) -> Skill:
    success, y = f"on('{x}', 'stove front')", "stove front"
    reward = f"staged(shape(tcp_distance('{x}'), 0.2), shape(offset('{x}', '{y}'), 0.3), {success})"
    return Skill(caption("on", x, y), reward, success, LONG_STEPS, prerequisites=f"present('{x}') and present('{y}')")


def pull(x: str) -> Skill:
    reward = f"staged(shape(tcp_distance('{x}'), 0.2), clip(opening('{x}') / 0.15, 0, 1), is_open('{x}'))"
    return Skill(caption("open", x), reward, f"is_open('{x}')", LONG_STEPS, prerequisites=f"present('{x}')")


def turn(way: str, progress: str) -> Skill:
    reward = f"staged(shape(tcp_distance('{KNOB}'), 0.2), {progress}, turned_{way}('{KNOB}'))"
    prerequisites = f"present('{KNOB}')"
    return Skill(
        caption(f"turn{way}", KNOB), reward, f"turned_{way}('{KNOB}')", LONG_STEPS, prerequisites=prerequisites
    )


def caption(what: str, x: str, y: str = "") -> str:
    """What a robot is told that is to bring about LIBERO's On or In (x, y), Open (x), Turnon or Turnoff (x)."""
    if what == "open":
        return f"open the {x}"
    if what.startswith("turn"):
        return f"turn the {x} {what.removeprefix('turn')}"
    if y == "stove front":
        return f"push {article(x)} to the {y}"
    return f"put {article(x)} {'in' if y in DRAWERS or y.startswith('bowl') else 'on'} {article(y)}"


def article(x: str) -> str:
    return x if x.startswith("bowl") else f"the {x}"


PUTS = (("bowl 1", "plate"), ("bowl 2", "plate"), ("bowl 1", "stove"), ("bowl 1", "cabinet"), ("bowl 1", "top drawer"),
        ("cream cheese", "bowl 1"), ("cream cheese", "top drawer"), ("cream cheese", "rack"), ("wine bottle", "cabinet"),
        ("wine bottle", "rack"), ("wine bottle", "plate"), ("wine bottle", "bowl 1"), ("plate", "stove"),
        ("plate", "cabinet"))  # fmt: skip


def skills() -> Iterator[Skill]:
    """The goals of both suites, and those of their variants with other tasks."""
    yield from (put(x, y) for x, y in PUTS)
    yield from map(push, ("plate", "cream cheese"))
    yield from map(pull, DRAWERS)
    yield turn("on", f"clip(angle('{KNOB}') / 0.5, 0, 1)")
    yield turn("off", f"clip(1 - angle('{KNOB}') / 0.5, 0, 1)")
