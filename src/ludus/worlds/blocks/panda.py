"""A 7-joint Franka Emika Panda with its gripper as a MuJoCo spec, from a table of public facts and primitive shapes.

Frames follow the modified (Craig) Denavit-Hartenberg convention of the data sheet, so forward kinematics are those of
the real arm. Shapes are drawn by hand: capsules for collision here, finer ones for pictures only in `visuals`. This
module knows nothing of tables, blocks or tasks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ludus.types import LudusError

try:
    import mujoco
    from mujoco.batch import Batch  # noqa: F401  of MuJoCo 4; an older one may be there for other worlds
except ImportError as error:
    raise LudusError(f"world blocks needs MuJoCo 4 ({error}); pip install 'ludus[blocks]'") from None

mj: Any = mujoco  # ships no type stubs


class Link(NamedTuple):
    """One joint and the link behind it; lengths in m, angles in rad, x-y-z in the link's own frame."""

    a: float  # offset of this frame along the previous x axis
    d: float  # offset along this joint's axis
    alpha: float  # turn about the previous x axis
    range: tuple[float, float]
    velocity: float  # rad/s
    torque: float  # N m
    mass: float  # kg, identified by Gaz et al., RA-L 2019
    com: tuple[float, float, float]  # centre of mass, same source
    box: tuple[float, float, float]  # extent of the uniform box that stands in for the link's inertia
    kp: float  # N m/rad of the position servo
    kv: float  # N m s/rad, LAG_S * kp


_R = np.pi / 2
LINKS = (
    Link(0, 0.333, 0, (-2.8973, 2.8973), 2.175, 87, 4.970, (0.004, 0.002, -0.048), (0.13, 0.16, 0.3), 4500, 112.5),
    Link(0, 0, -_R, (-1.7628, 1.7628), 2.175, 87, 0.647, (-0.003, -0.029, 0.003), (0.13, 0.24, 0.16), 4500, 112.5),
    Link(0, 0.316, _R, (-2.8973, 2.8973), 2.175, 87, 3.229, (0.028, 0.039, -0.067), (0.18, 0.13, 0.24), 3500, 87.5),
    Link(0.0825, 0, _R, (-3.0718, -0.0698), 2.175, 87, 3.588, (-0.053, 0.104, 0.027), (0.18, 0.24, 0.13), 3500, 87.5),
    Link(-0.0825, 0.384, -_R, (-2.8973, 2.8973), 2.61, 12, 1.226, (-0.012, 0.041, -0.038), (0.12, 0.15, 0.3), 2000, 50),
    Link(0, 0, _R, (-0.0175, 3.7525), 2.61, 12, 1.667, (0.060, -0.014, -0.011), (0.18, 0.12, 0.12), 2000, 50),
    Link(0.088, 0, _R, (-2.8973, 2.8973), 2.61, 12, 0.736, (0.011, -0.004, 0.062), (0.09, 0.09, 0.11), 2000, 50),
)
LAG_S = 0.025  # kv / kp of every servo: short enough for 0.4 m/s inside the 3 cm leash of `control`
BASE_MASS = 2.8
HAND_MASS, FINGER_MASS = 0.73, 0.05  # fingers of 15 g plus the share of their drive's inertia
ARMATURE = 0.1  # kg m^2, rotor inertia seen at the joint
FLANGE = 0.107  # m from joint 7 to the flange, where the hand sits turned by -pi/4
TCP = 0.1034  # m from the hand's frame to between the pads
FINGER_ROOT = 0.0584  # m from the hand's frame to the fingers' frames
STROKE = 0.04  # m per finger
FINGER_FORCE = 70.0  # N per finger
FINGER_KP, FINGER_KV = 4000.0, 100.0  # N/m and N s/m on the distance between the pads
HOME = (0.0, 0.196, 0.0, -2.618, 0.0, 2.94, 0.785)

JOINTS = tuple(f"joint{i}" for i in range(1, 8))
RANGE = np.array([link.range for link in LINKS])
VELOCITY = np.array([link.velocity for link in LINKS])
TORQUE = np.array([link.torque for link in LINKS])

# Collision capsules: link, from, to, radius. Links 1-3 cannot come near anything on the table.
COLLISION = (
    (4, (0, 0, -0.06), (0, 0, 0.06), 0.065),
    (4, (-0.0825, 0.09, 0), (-0.0825, 0.2, 0), 0.06),
    (5, (0, 0.06, -0.18), (0, 0.075, -0.05), 0.04),
    (5, (0, 0, -0.03), (0, 0.02, 0.0), 0.06),
    (6, (0, 0, -0.06), (0, 0, 0.02), 0.055),
    (6, (0.088, 0, -0.03), (0.088, 0, 0.03), 0.055),
    (7, (0, 0, 0.01), (0, 0, 0.08), 0.045),
)
PAD = (0.0085, 0.004, 0.0085)  # half extents; its inner face lies in the finger frame's y = 0 plane


def add_panda(spec: Any, visuals: bool = False) -> None:
    """Add the arm at the world's origin, standing on z = 0 and looking along +x.

    Names: joints `joint1..7`, `finger_left`, `finger_right`; actuators the same and `gripper`; geoms `pad_left`,
    `pad_right`; site `tcp`. Arm actuators take joint velocities (rad/s) and integrate them to the servo's target;
    the gripper's takes the width between the pads (m). Gravity compensation counts towards the torque limits.

    Args:
        spec: where to add it.
        visuals: also add the geoms that only pictures need.
    """
    body = spec.worldbody.add_body(name="link0")
    body.mass, body.inertia, body.ipos, body.explicitinertial = BASE_MASS, [0.01] * 3, [-0.04, 0, 0.05], True
    bodies = [body]
    for i, link in enumerate(LINKS):
        sin, cos = np.sin(link.alpha), np.cos(link.alpha)
        body = body.add_body(
            name=f"link{i + 1}",
            pos=[link.a, -sin * link.d, cos * link.d],
            quat=[np.cos(link.alpha / 2), np.sin(link.alpha / 2), 0, 0],
            mass=link.mass,
            ipos=link.com,
            inertia=_box_inertia(link.mass, link.box),
            explicitinertial=True,
            gravcomp=1,
        )
        joint = body.add_joint(name=JOINTS[i], axis=[0, 0, 1], range=link.range, armature=ARMATURE)
        joint.limited = mj.mjtLimited.mjLIMITED_TRUE
        joint.actfrclimited = mj.mjtLimited.mjLIMITED_TRUE
        joint.actfrcrange = [-link.torque, link.torque]
        joint.actgravcomp = True
        actuator = spec.add_actuator(name=JOINTS[i], target=JOINTS[i], trntype=mj.mjtTrn.mjTRN_JOINT)
        _servo(actuator, link.kp, link.kv)
        actuator.dyntype = mj.mjtDyn.mjDYN_INTEGRATOR
        actuator.actlimited = mj.mjtLimited.mjLIMITED_TRUE
        actuator.actrange = link.range
        actuator.ctrllimited = mj.mjtLimited.mjLIMITED_TRUE
        actuator.ctrlrange = [-link.velocity, link.velocity]
        bodies.append(body)
    for link, start, end, radius in COLLISION:
        _solid(bodies[link].add_geom(type=mj.mjtGeom.mjGEOM_CAPSULE, fromto=[*start, *end], size=[radius, 0, 0]))
    _add_hand(spec, body)
    if visuals:
        from ludus.worlds.blocks.visuals import add_arm_visuals

        add_arm_visuals(spec, bodies)


def _add_hand(spec: Any, flange: Any) -> None:
    hand = flange.add_body(
        name="hand",
        pos=[0, 0, FLANGE],
        quat=[np.cos(-np.pi / 8), 0, 0, np.sin(-np.pi / 8)],
        mass=HAND_MASS,
        ipos=[0, 0, 0.03],
        inertia=_box_inertia(HAND_MASS, (0.06, 0.2, 0.07)),
        explicitinertial=True,
        gravcomp=1,
    )
    _solid(hand.add_geom(type=mj.mjtGeom.mjGEOM_BOX, pos=[0, 0, 0.033], size=[0.0315, 0.102, 0.033]))
    hand.add_site(name="tcp", pos=[0, 0, TCP], group=4)
    for name, side in (("left", 1), ("right", -1)):
        finger = hand.add_body(
            name=f"finger_{name}",
            pos=[0, 0, FINGER_ROOT],
            quat=[1, 0, 0, 0] if side > 0 else [0, 0, 0, 1],  # half a turn, so that both close along their own -y
            mass=FINGER_MASS,
            ipos=[0, 0.01, 0.03],
            inertia=_box_inertia(FINGER_MASS, (0.02, 0.02, 0.05)),
            explicitinertial=True,
            gravcomp=1,
        )
        joint = finger.add_joint(name=f"finger_{name}", axis=[0, 1, 0], range=[0, STROKE], armature=0.1)
        joint.type = mj.mjtJoint.mjJNT_SLIDE
        joint.limited = mj.mjtLimited.mjLIMITED_TRUE
        joint.actfrclimited = mj.mjtLimited.mjLIMITED_TRUE
        joint.actfrcrange = [-FINGER_FORCE, FINGER_FORCE]
        joint.actgravcomp = True
        pad_z = TCP - FINGER_ROOT
        pad = finger.add_geom(name=f"pad_{name}", type=mj.mjtGeom.mjGEOM_BOX, pos=[0, PAD[1], pad_z], size=PAD)
        _solid(pad).group = 0
        pad.rgba = [0.12, 0.12, 0.13, 1]
        # the finger above its pad; set back 1 mm so that only the pad grips
        box = mj.mjtGeom.mjGEOM_BOX
        _solid(finger.add_geom(type=box, pos=[0, 0.011, 0.018], size=[0.0105, 0.01, 0.018]))
    coupling = spec.add_equality(name="fingers", type=mj.mjtEq.mjEQ_JOINT)
    coupling.name1, coupling.name2 = "finger_right", "finger_left"
    coupling.data[:2] = [0, 1]
    coupling.objtype = mj.mjtObj.mjOBJ_JOINT
    width = spec.add_tendon(name="width")
    width.wrap_joint("finger_left", 1)
    width.wrap_joint("finger_right", 1)
    actuator = spec.add_actuator(name="gripper", target="width", trntype=mj.mjtTrn.mjTRN_TENDON)
    _servo(actuator, FINGER_KP, FINGER_KV)
    actuator.ctrllimited = mj.mjtLimited.mjLIMITED_TRUE
    actuator.ctrlrange = [0, 2 * STROKE]
    actuator.forcelimited = mj.mjtLimited.mjLIMITED_TRUE
    actuator.forcerange = [-FINGER_FORCE, FINGER_FORCE]


def _servo(actuator: Any, kp: float, kv: float) -> None:
    """Force = kp (target - position) - kv velocity."""
    actuator.gaintype, actuator.biastype = mj.mjtGain.mjGAIN_FIXED, mj.mjtBias.mjBIAS_AFFINE
    actuator.gainprm[0] = kp
    actuator.biasprm[:3] = [0, -kp, -kv]


def _solid(geom: Any) -> Any:
    """Robot geoms meet blocks and table (conaffinity 1), never each other (contype 0)."""
    geom.contype, geom.conaffinity, geom.group, geom.mass = 0, 1, 3, 0
    return geom


def _box_inertia(mass: float, box: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.square(box)
    return mass / 12 * np.array([y + z, x + z, x + y])


def tcp_pose(q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward kinematics of the table above, apart from MuJoCo.

    Args:
        q: `[..., 7]` joint angles, rad.

    Returns:
        Of the tcp: position `[..., 3]` m, rotation `[..., 3, 3]`, Jacobian `[..., 6, 7]` (translation, then rotation).
    """
    lead = q.shape[:-1]
    rotation = np.broadcast_to(np.eye(3), (*lead, 3, 3))
    position = np.zeros((*lead, 3))
    axes, anchors = [], []
    for i, link in enumerate(LINKS):
        sin, cos = np.sin(link.alpha), np.cos(link.alpha)
        position = position + rotation @ np.array([link.a, -sin * link.d, cos * link.d])
        turn_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        rotation = rotation @ turn_x @ _turn_z(q[..., i])
        axes.append(rotation[..., 2])
        anchors.append(position)
    position = position + rotation[..., 2] * (FLANGE + TCP)
    rotation = rotation @ _turn_z(np.float64(-np.pi / 4))
    axis, anchor = np.stack(axes, -2), np.stack(anchors, -2)
    jacobian = np.concatenate([np.cross(axis, position[..., None, :] - anchor), axis], -1)
    return position, rotation, np.swapaxes(jacobian, -1, -2)


def _turn_z(angle: Any) -> np.ndarray:
    out = np.zeros((*np.shape(angle), 3, 3))
    out[..., 0, 0] = out[..., 1, 1] = np.cos(angle)
    out[..., 1, 0] = np.sin(angle)
    out[..., 0, 1] = -out[..., 1, 0]
    out[..., 2, 2] = 1
    return out
