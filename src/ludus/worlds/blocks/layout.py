"""What the blocks world shows and how it describes itself: groups, fields, and the fingerprint of its data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from ludus.types import Field, Group, ObservationSpec, WorldSpec
from ludus.worlds.blocks import control, cube_encoder, panda, scene

EPISODE_STEPS = 400
SKILL_STEPS = 80

OF_CONTROL = (
    "HZ", "FULL_SCALE", "LOW", "HIGH", "LEASH_M", "LEASH_RAD", "DAMPING", "HOMING", "MARGIN_RAD", "SQUEEZE_M", "_LEAD", "STATE",
)  # fmt: skip
"""Constants of `control` that shape the data."""
OF_SCENE = ("HAND_LOW", "HAND_HIGH", "DRAWING", "SPACING", "SETTLE_S")
"""Those of `scene`; what else it says is in the compiled model."""

ARM = (
    Field("joint_position", (7,), "rad", "angles of joints 1 to 7"),
    Field("joint_velocity", (7,), "rad/s", "their velocities"),
)
GRIPPER = (
    Field(
        "position", (3,), "m", "point between the pads, in the world: x forward, y left, z up, origin at the arm's foot"
    ),
    Field("quaternion", (4,), "1", "w, x, y, z of the hand"),
    Field("yaw", (1,), "rad", "heading of the hand; at 0 the pads face each other along y"),
    Field("width", (1,), "m", "distance between the pads"),
    Field("velocity", (3,), "m/s", "of the point between the pads"),
    Field("finger_position", (2,), "m", "each finger's opening, left and right"),
    Field("command", (1,), "1", "last gripper command: -1 open, 1 close"),
)
BLOCK = (
    Field("position", (3,), "m", "centre, in the world"),
    Field("quaternion", (4,), "1", "w, x, y, z"),
    Field("velocity", (3,), "m/s", "of the centre"),
    Field("angular_velocity", (3,), "rad/s", "in the world's axes"),
    Field("touch_left", (1,), "1", "1 if the left pad touches it"),
    Field("touch_right", (1,), "1", "1 if the right pad touches it"),
    Field("touch_table", (1,), "1", "1 if the table touches it"),
    Field("size", (1,), "m", "edge length"),
)
ARM_SIZE, GRIPPER_SIZE, BLOCK_SIZE = (sum(f.size for f in fields) for fields in (ARM, GRIPPER, BLOCK))


def world_spec(n_blocks: int, domain: scene.Domain, substeps: int, xml: str) -> WorldSpec:
    """The description of a blocks world.

    Args:
        substeps: physics steps per control step.
        xml: its compiled model, which shapes its data and so goes into the fingerprint.
    """
    objects = tuple(scene.COLOURS)[:n_blocks]
    groups = (Group("arm", "arm", ARM), Group("gripper", "effector", GRIPPER))
    groups += tuple(Group(name, "object", BLOCK) for name in objects)
    constants = {k: np.asarray(getattr(control, k)).tolist() for k in OF_CONTROL}
    constants |= {k: getattr(scene, k) for k in OF_SCENE}
    constants["HOME"] = panda.HOME
    shaping = [xml, constants, repr(domain), substeps, _described(groups)]
    return WorldSpec(
        name="blocks",
        objects=objects,
        observation=ObservationSpec(groups),
        actions=control.ACTIONS,
        control_hz=control.HZ,
        episode_steps=EPISODE_STEPS,
        skill_steps=SKILL_STEPS,
        starts=tuple(s for s in scene.STARTS if n_blocks > 1 or s not in scene.PAIR_STARTS),
        cameras=scene.CAMERAS,
        fingerprint=hashlib.blake2b(json.dumps(shaping, sort_keys=True).encode(), digest_size=6).hexdigest(),
        encoder=cube_encoder,
    )


def _described(groups: Sequence[Group]) -> str:
    """The observations' layout as it goes into the fingerprint: in one spelling for ever, whatever else a field may say,
    because stored episodes carry the fingerprint."""

    def field(f: Field) -> str:
        return f"Field(name={f.name!r}, size={f.size}, unit={f.unit!r}, meaning={f.meaning!r})"

    def fields(g: Group) -> str:
        inside = ", ".join(map(field, g.fields))
        return f"({inside},)" if len(g.fields) == 1 else f"({inside})"

    inside = ", ".join(f"Group(name={g.name!r}, kind={g.kind!r}, fields={fields(g)})" for g in groups)
    return f"({inside})"
