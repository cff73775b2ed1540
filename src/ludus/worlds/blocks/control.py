"""From five numbers in [-1, 1] to joint velocities: vectorised Cartesian-velocity control of E arms.

Each action moves a *desired pose* that persists between steps; one damped-least-squares step of inverse kinematics
takes the arm there. The desired pose runs at most a leash ahead of the real one, so that it cannot wind up while the
arm is blocked, and stays inside the workspace. The gripper points down always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ludus.worlds.blocks import panda

HZ = 20.0
ACTIONS = ("v_x", "v_y", "v_z", "yaw_rate", "gripper")
FULL_SCALE = np.array([0.4, 0.4, 0.4, 2.5])  # m/s, m/s, m/s, rad/s
LOW = np.array([0.30, -0.28, 0.015, -1.3])  # workspace: x, y, z (m), yaw (rad)
HIGH = np.array([0.68, 0.28, 0.35, 1.3])
LEASH_M = 0.03
LEASH_RAD = 0.25
DAMPING = 0.03
HOMING = 0.05  # share of the way to the home pose per step, in the null space of the task
MARGIN_RAD = 0.01  # kept from the joint limits
SQUEEZE_M = 0.012  # leash of the pads' target: grips with 48 N, closes at 0.1 m/s per finger (twice a real one's)

_LEAD = panda.VELOCITY * panda.LAG_S
STATE = 5  # desired x, y, z, yaw; last gripper command

# Of `solve`, which finds joint angles for poses before an episode starts.
SOLVE_DAMPING_SQUARED = 1e-4
SOLVE_STEP_RAD = 0.3  # largest change of a joint per step
SOLVE_MARGIN_RAD = 0.02  # kept from the joint limits
SOLVE_FINAL_STEPS = 10  # last steps, without the pull to the home pose


def yaw_of(rotation: np.ndarray) -> np.ndarray:
    """`[...]` rad: heading of the gripper's x axis; 0 when the pads face each other along the world's y axis."""
    return np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])


@dataclass(frozen=True)
class ArmState:
    """E arms as they stand now."""

    position: np.ndarray  # [E, 3] of the tcp, m
    rotation: np.ndarray  # [E, 3, 3] of the tcp
    jacobian: np.ndarray  # [E, 6, 7] of the tcp: translation, then rotation
    q: np.ndarray  # [E, 7] joint angles, rad
    velocity: np.ndarray  # [E, 7] of the joints, rad/s
    target: np.ndarray  # [E, 7] joint angles that the servos pull to at present, rad
    width: np.ndarray  # [E] between the pads, m


def follow(state: np.ndarray, actions: np.ndarray, arm: ArmState) -> np.ndarray:
    """Advance the desired poses by one action and compute the commands of the actuators.

    Args:
        state: `[E, 5]` controller state (desired x, y, z, yaw; last gripper command), changed in place.
        actions: `[E, 5]` in [-1, 1].
        arm: where the arms are.

    Returns:
        `[E, 8]` controls: joint velocities (rad/s), width between the pads (m).
    """
    _advance(state, actions, arm)
    q = arm.q
    turn = _joint_step(state[:, :4], arm)
    # A servo follows at lead / LAG_S: no more lead than the joint may run, even if it was held back and comes free. All
    # joints are slowed together, which keeps the direction and the tilt (clipping each alone doubled the tilt).
    coast = q + np.clip(arm.velocity, -panda.VELOCITY, panda.VELOCITY) / HZ
    room = np.where(turn > 0, np.maximum(q, coast) + _LEAD, np.minimum(q, coast) - _LEAD) - q
    turn *= np.minimum(1.0, np.min(room / np.where(turn == 0, -1e-12, turn), axis=1))[:, None]
    goal = np.clip(q + turn, panda.RANGE[:, 0] + MARGIN_RAD, panda.RANGE[:, 1] - MARGIN_RAD)

    controls = np.empty((len(q), 8))
    np.clip((goal - arm.target) * HZ, -panda.VELOCITY, panda.VELOCITY, out=controls[:, :7])
    controls[:, 7] = grip(actions[:, 4], arm.width)
    return controls


def _advance(state: np.ndarray, actions: np.ndarray, arm: ArmState) -> None:
    """Move the desired poses by the action, at most a leash ahead of the real ones and within the workspace."""
    real = np.empty((len(state), 4))
    real[:, :3] = arm.position
    real[:, 3] = yaw_of(arm.rotation)
    desired = state[:, :4]
    desired += actions[:, :4] * (FULL_SCALE / HZ)
    ahead = desired - real
    distance = np.sqrt(np.einsum("ei,ei->e", ahead[:, :3], ahead[:, :3]))
    ahead[:, :3] *= np.minimum(1.0, LEASH_M / np.maximum(distance, 1e-9))[:, None]
    ahead[:, 3] = np.clip(ahead[:, 3], -LEASH_RAD, LEASH_RAD)
    np.clip(real + ahead, LOW, HIGH, out=desired)
    state[:, 4] = actions[:, 4]


def _joint_step(desired: np.ndarray, arm: ArmState) -> np.ndarray:
    """`[E, 7]` rad: one step of damped least squares towards the desired poses `[E, 4]`, in whose null space the arm is
    drawn to its home pose (Buss, Introduction to inverse kinematics, 2009)."""
    error = np.empty((len(desired), 6))
    error[:, :3] = desired[:, :3] - arm.position
    error[:, 3:] = _turn_to(arm.rotation, desired[:, 3])
    pull = HOMING * (np.asarray(panda.HOME) - arm.q)
    error -= np.einsum("eij,ej->ei", arm.jacobian, pull)
    square = arm.jacobian @ arm.jacobian.transpose(0, 2, 1)
    square += DAMPING**2 * np.eye(6)
    solved = np.linalg.solve(square, error[..., None])[..., 0]
    return pull + np.einsum("eij,ei->ej", arm.jacobian, solved)


def grip(command: np.ndarray, width: np.ndarray) -> np.ndarray:
    """`[E]` m, target of the pads' servo: -1 is wide open, +1 closed, but on a leash from where they are."""
    return np.clip(panda.STROKE * (1.0 - command), width - SQUEEZE_M, width + SQUEEZE_M)


def _turn_to(rotation: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """`[E, 3]` rotation vector (for small angles) from `rotation` to pointing down at `yaw`."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = rotation[..., 0], rotation[..., 1], rotation[..., 2]
    out = np.empty((len(yaw), 3))
    # half the sum of cross products of real and wanted axes (cos, sin, 0), (sin, -cos, 0), (0, 0, -1)
    out[:, 0] = -x[:, 2] * sin + y[:, 2] * cos - z[:, 1]
    out[:, 1] = x[:, 2] * cos + y[:, 2] * sin + z[:, 0]
    out[:, 2] = x[:, 0] * sin - x[:, 1] * cos - y[:, 0] * cos - y[:, 1] * sin
    out *= 0.5
    return out


def solve(poses: np.ndarray, steps: int = 60) -> np.ndarray:
    """Joint angles `[n, 7]` whose tcp stands at `poses` `[n, 4]` (x, y, z, yaw), pointing down; near the home pose."""
    q = np.tile(np.asarray(panda.HOME), (len(poses), 1))
    for step in range(steps):
        position, rotation, jacobian = panda.tcp_pose(q)
        error = np.concatenate([poses[:, :3] - position, _turn_to(rotation, poses[:, 3])], -1)
        pull = HOMING * (np.asarray(panda.HOME) - q) if step < steps - SOLVE_FINAL_STEPS else np.zeros_like(q)
        error -= np.einsum("eij,ej->ei", jacobian, pull)
        square = jacobian @ jacobian.transpose(0, 2, 1) + SOLVE_DAMPING_SQUARED * np.eye(6)
        solved = np.linalg.solve(square, error[..., None])[..., 0]
        q += np.clip(pull + np.einsum("eij,ei->ej", jacobian, solved), -SOLVE_STEP_RAD, SOLVE_STEP_RAD)
        q = np.clip(q, panda.RANGE[:, 0] + SOLVE_MARGIN_RAD, panda.RANGE[:, 1] - SOLVE_MARGIN_RAD)
    return q
