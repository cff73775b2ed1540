"""How robot and table look: shells, table top, lights, cameras. Nothing here collides or has mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

mj: Any = mujoco  # ships no type stubs

WHITE, GREY, DARK = (0.93, 0.93, 0.92, 1), (0.62, 0.64, 0.66, 1), (0.16, 0.17, 0.19, 1)
CAPSULE, CYLINDER = "CAPSULE", "CYLINDER"

# link, shape, from, to (m, in the link's frame), radius, colour. Measured by eye from pictures of the arm.
SHELLS = (
    (0, CYLINDER, (0, 0, 0), (0, 0, 0.012), 0.10, DARK),
    (0, CYLINDER, (0, 0, 0.012), (0, 0, 0.14), 0.066, WHITE),
    (0, CAPSULE, (-0.10, 0, 0.045), (0, 0, 0.06), 0.042, WHITE),
    (1, CYLINDER, (0, 0, -0.193), (0, 0, -0.183), 0.064, DARK),
    (1, CYLINDER, (0, 0, -0.183), (0, 0, -0.06), 0.06, WHITE),
    (1, CAPSULE, (0, -0.03, 0), (0, 0.03, 0), 0.064, WHITE),
    (1, CAPSULE, (0, 0, -0.06), (0, 0, -0.01), 0.06, WHITE),
    (2, CYLINDER, (0, 0, -0.075), (0, 0, 0.075), 0.052, DARK),
    (2, CYLINDER, (0, 0, -0.083), (0, 0, 0.083), 0.042, GREY),
    (2, CAPSULE, (0, 0, 0), (0, -0.12, 0), 0.06, WHITE),
    (2, CYLINDER, (0, -0.12, 0), (0, -0.193, 0), 0.06, WHITE),
    (3, CYLINDER, (0, 0, -0.123), (0, 0, -0.113), 0.063, DARK),
    (3, CYLINDER, (0, 0, -0.113), (0, 0, -0.06), 0.058, WHITE),
    (3, CAPSULE, (0, 0, -0.06), (0.0825, 0, 0), 0.056, WHITE),
    (3, CAPSULE, (0.0825, -0.03, 0), (0.0825, 0.03, 0), 0.058, WHITE),
    (4, CYLINDER, (0, 0, -0.068), (0, 0, 0.068), 0.048, DARK),
    (4, CYLINDER, (0, 0, -0.075), (0, 0, 0.075), 0.039, GREY),
    (4, CAPSULE, (0, 0, 0), (-0.0825, 0.075, 0), 0.054, WHITE),
    (4, CYLINDER, (-0.0825, 0.075, 0), (-0.0825, 0.12, 0), 0.055, WHITE),
    (5, CYLINDER, (0, 0, -0.264), (0, 0, -0.254), 0.058, DARK),
    (5, CAPSULE, (0, 0, -0.22), (0, 0.03, -0.19), 0.053, WHITE),
    (5, CYLINDER, (0, 0, -0.254), (0, 0, -0.21), 0.053, WHITE),
    (5, CAPSULE, (0, 0.055, -0.19), (0, 0.065, -0.03), 0.036, WHITE),
    (5, CAPSULE, (0, 0.055, 0), (0, -0.005, 0), 0.050, WHITE),
    (6, CYLINDER, (0, 0, -0.06), (0, 0, -0.01), 0.045, DARK),
    (6, CAPSULE, (0, 0, 0.01), (0.088, 0, 0.005), 0.046, WHITE),
    (6, CYLINDER, (0.088, 0.055, 0), (0.088, -0.045, 0), 0.050, WHITE),
    (6, CYLINDER, (0.088, 0.062, 0), (0.088, 0.055, 0), 0.042, GREY),
    (7, CYLINDER, (0, 0, 0.045), (0, 0, 0.053), 0.048, DARK),
    (7, CYLINDER, (0, 0, 0.053), (0, 0, 0.09), 0.046, WHITE),
    (7, CYLINDER, (0, 0, 0.09), (0, 0, 0.107), 0.034, GREY),
)
# body, centre, half extents, colour
BOXES = (
    ("hand", (0, 0, 0.030), (0.026, 0.086, 0.024), WHITE),
    ("hand", (0, 0.09, 0.033), (0.022, 0.012, 0.021), WHITE),
    ("hand", (0, -0.09, 0.033), (0.022, 0.012, 0.021), WHITE),
    ("hand", (0, 0, 0.058), (0.018, 0.098, 0.006), DARK),
    ("finger_left", (0, 0.014, 0.010), (0.009, 0.010, 0.011), GREY),
    ("finger_left", (0, 0.012, 0.030), (0.0085, 0.006, 0.018), GREY),
    ("finger_right", (0, 0.014, 0.010), (0.009, 0.010, 0.011), GREY),
    ("finger_right", (0, 0.012, 0.030), (0.0085, 0.006, 0.018), GREY),
)
TABLE = ((0.33, 0, -0.02), (0.52, 0.62, 0.02), (0.72, 0.66, 0.58, 1))
MAT = ((0.49, 0, -0.0004), (0.20, 0.30, 0.0008), (0.30, 0.33, 0.37, 1))
LEGS = (-0.12, 0.78), (-0.55, 0.55)  # m, x and y
FLOOR_Z = -0.72
# name, position, looked at (m), vertical field of view (degrees)
CAMERAS = (
    ("front", (1.34, 0.0, 0.70), (0.38, 0.0, 0.17), 42),
    ("side", (0.95, -1.20, 0.70), (0.30, 0.0, 0.27), 44),
)


def add_arm_visuals(spec: Any, bodies: Sequence[Any]) -> None:
    """Give the arm its shells. `bodies`: links 0 to 7 of `panda.add_panda`."""
    for link, shape, start, end, radius, colour in SHELLS:
        kind = getattr(mj.mjtGeom, f"mjGEOM_{shape}")
        _ghost(bodies[link].add_geom(type=kind, fromto=[*start, *end], size=[radius, 0, 0], rgba=colour))
    for name, centre, half, colour in BOXES:
        _box(spec.body(name), centre, half, colour)


def add_scene_visuals(spec: Any) -> None:
    """Table top and legs, floor, lights and cameras."""
    world = spec.worldbody
    _box(world, *TABLE)
    _box(world, *MAT)
    for x in LEGS[0]:
        for y in LEGS[1]:
            _box(world, (x, y, FLOOR_Z / 2 - 0.02), (0.025, 0.025, -FLOOR_Z / 2 - 0.02), GREY)
    floor = world.add_geom(
        type=mj.mjtGeom.mjGEOM_PLANE, pos=[0, 0, FLOOR_Z], size=[4, 4, 1], rgba=[0.42, 0.44, 0.47, 1]
    )
    _ghost(floor)
    spec.add_texture(
        name="sky",
        type=mj.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mj.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.78, 0.84, 0.90],
        rgb2=[0.45, 0.50, 0.56],
        width=64,
        height=384,
    )
    head = spec.visual.headlight
    head.ambient, head.diffuse, head.specular = [0.42] * 3, [0.38] * 3, [0.05] * 3
    light = world.add_light(pos=[0.7, -0.7, 1.8], dir=[-0.25, 0.5, -1.0], diffuse=[0.52] * 3, specular=[0.18] * 3)
    light.type, light.castshadow = mj.mjtLightType.mjLIGHT_DIRECTIONAL, False
    for name, position, target, fovy in CAMERAS:
        world.add_camera(name=name, pos=position, quat=_look(np.array(position), np.array(target)), fovy=fovy)


def _look(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`[4]` quaternion of a camera at `position` that sees `target` in the middle, with z up."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    quat = np.empty(4)
    mj.mju_mat2Quat(quat, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quat


def _box(body: Any, centre: Sequence[float], half: Sequence[float], colour: Sequence[float]) -> None:
    _ghost(body.add_geom(type=mj.mjtGeom.mjGEOM_BOX, pos=centre, size=half, rgba=colour))


def _ghost(geom: Any) -> None:
    geom.contype, geom.conaffinity, geom.group, geom.mass = 0, 0, 1, 0
