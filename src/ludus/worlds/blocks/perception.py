"""What the teacher computes from observations: poses, what is held, how blocks lie to each other; E simulations of N blocks.

Stricter than the predicates of skills: the teacher stops only well within the tolerances of success.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ludus.types import Observations, WorldSpec

UP = np.array([0.0, 0.0, 1.0])
BESIDE_GAP_M = 0.008
"""Air between blocks put side by side."""
BESIDE_GAP_ERROR_M = 0.010
"""Largest error of that gap."""
BETWEEN_PADS_M = 0.028
"""A block whose centre is this near to the tcp is between the pads."""
HELD_NARROWER_M, HELD_WIDER_M = 0.012, 0.008
"""The pads of a gripper that holds a block are at most this much narrower or wider than its edge."""
ABOVE_OFFSET, ABOVE_HEIGHT = 0.75, 0.5
"""A block rests on another if it is within these shares of a block from standing on it, horizontally and vertically."""
AT_XY_M, AT_Z_M = 0.02, 0.006
"""A block is at its goal within these distances."""


@dataclass(frozen=True)
class BlockState:
    """The state of E simulations of N blocks, as far as the observations show it; metres and radians."""

    tcp: np.ndarray  # [E, 3]
    yaw: np.ndarray  # [E]
    width: np.ndarray  # [E]
    block: np.ndarray  # [E, N, 3]
    heading: np.ndarray  # [E, N] yaw of a horizontal edge, any of four
    size: np.ndarray  # [E, N]
    held: np.ndarray  # [E, N] bool
    touches_table: np.ndarray  # [E, N] bool
    above: np.ndarray  # [E, N, N] bool: block i (not held) rests on block j

    @classmethod
    def from_observation(cls, spec: WorldSpec, observations: Observations) -> BlockState:
        """Read logged observations of a world of one effector and objects that are cubes."""

        def gripper(name: str) -> np.ndarray:
            return spec.observation.get(observations, effector, name).astype(np.float64)

        def each(name: str) -> np.ndarray:
            return np.stack([spec.observation.get(observations, o, name) for o in spec.objects], 1).astype(np.float64)

        effector = spec.observation.of_kind("effector")[0].name
        tcp, width = gripper("position"), gripper("width")[:, 0]
        block, size = each("position"), each("size")[..., 0]
        slack = width[:, None] - size
        touched = (each("touch_left")[..., 0] > 0) & (each("touch_right")[..., 0] > 0)
        near = np.linalg.norm(block - tcp[:, None], axis=-1) < BETWEEN_PADS_M
        held = near & touched & (slack > -HELD_NARROWER_M) & (slack < HELD_WIDER_M)
        offset = block[:, :, None] - block[:, None]
        pitch = (size[:, :, None] + size[:, None]) / 2
        over = np.linalg.norm(offset[..., :2], axis=-1) < ABOVE_OFFSET * pitch
        above = over & (np.abs(offset[..., 2] - pitch) < ABOVE_HEIGHT * pitch) & ~held[:, :, None]
        return cls(
            tcp=tcp,
            yaw=gripper("yaw")[:, 0],
            width=width,
            block=block,
            heading=edge_heading(each("quaternion")),
            size=size,
            held=held,
            touches_table=each("touch_table")[..., 0] > 0,
            above=above,
        )


def edge_heading(quaternion: np.ndarray) -> np.ndarray:
    """`[..., 4]` (w, x, y, z) -> yaw `[...]` of the cube axis nearest to horizontal, whichever face is up."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    horizontal = np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)], -1),
            np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z)], -1),
            np.stack([2 * (x * z + w * y), 2 * (y * z - w * x)], -1),
        ],
        -2,
    )
    flattest = np.argmax(np.linalg.norm(horizontal, axis=-1), -1)[..., None, None]
    axis = np.take_along_axis(horizontal, flattest, -2)[..., 0, :]
    return np.arctan2(axis[..., 1], axis[..., 0])


def of(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`values[e, index[e]]` for every e; index -1 reads the last, for rows that do not use it."""
    return values[np.arange(len(index)), index]


def is_at(state: BlockState, block: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The centre of `block` `[E]` is at `goal` `[E, 3]`."""
    offset = of(state.block, block) - goal
    return (np.linalg.norm(offset[:, :2], axis=-1) < AT_XY_M) & (np.abs(offset[:, 2]) < AT_Z_M)


def stacked(state: BlockState, top: np.ndarray, base: np.ndarray) -> np.ndarray:
    """`top` stands on `base` and is not held."""
    pitch = (of(state.size, top) + of(state.size, base)) / 2
    return is_at(state, top, of(state.block, base) + pitch[:, None] * UP) & ~of(state.held, top)


def beside(state: BlockState, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a` and `b` are level and about `BESIDE_GAP_M` apart."""
    offset = of(state.block, a) - of(state.block, b)
    gap = np.linalg.norm(offset[:, :2], axis=-1) - (of(state.size, a) + of(state.size, b)) / 2
    return (np.abs(gap - BESIDE_GAP_M) < BESIDE_GAP_ERROR_M) & (np.abs(offset[:, 2]) < AT_Z_M)


def on_table(state: BlockState, block: np.ndarray) -> np.ndarray:
    """`block` is as low as if it stood on the table (it may be held there)."""
    return np.abs(of(state.block, block)[:, 2] - of(state.size, block) / 2) < AT_Z_M


def top_of(state: BlockState, block: np.ndarray, ignore: np.ndarray) -> np.ndarray:
    """The uppermost block resting on `block` (itself if none); `ignore` does not count as covering."""
    n = state.size.shape[1]
    for _ in range(n - 1):
        covers = state.above[np.arange(len(block)), :, block] & (np.arange(n) != ignore[:, None])
        block = np.where(covers.any(-1), covers.argmax(-1), block)
    return block


def wrap(angle: np.ndarray, period: float) -> np.ndarray:
    """Into [-period/2, period/2)."""
    return (angle + period / 2) % period - period / 2
