"""The table, the blocks on it, the cameras, and where everything stands when an episode starts.

A reset is drawn from one seed alone: the same seed gives the same scene in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ludus import seeding
from ludus.types import LudusError, unknown
from ludus.worlds.blocks import control, panda
from ludus.worlds.blocks.panda import mj

COLOURS = {
    "red": (0.84, 0.16, 0.14),
    "green": (0.16, 0.62, 0.24),
    "blue": (0.13, 0.36, 0.80),
    "yellow": (0.95, 0.78, 0.12),
    "purple": (0.52, 0.24, 0.68),
    "orange": (0.95, 0.48, 0.10),
    "cyan": (0.12, 0.72, 0.78),
    "white": (0.92, 0.92, 0.90),
}
MAX_BLOCKS = len(COLOURS)
STARTS = ("scattered", "held", "stacked", "beside", "drifting")
PAIR_STARTS = ("stacked", "beside")  # need two blocks
CAMERAS = ("front", "side")

X_RANGE, Y_RANGE = (0.36, 0.62), (-0.22, 0.22)  # m, centres of resting blocks
HAND_LOW = (X_RANGE[0], Y_RANGE[0], 0.13, -0.9)  # where the hand starts: x, y, z (m), yaw (rad) ...
HAND_HIGH = (X_RANGE[1], Y_RANGE[1], 0.26, 0.9)  # ... clear of a stack of two, with a block in hand
DRAWING = 1  # raise it when `place` draws another scene from the same seed: old and new data must not mix
SPACING = 0.075  # m between centres of blocks that do not belong together
DRIFT_M_S = (0.02, 0.05)  # of a block that slides: below STILL_M_S, so that what stands on it can be still
DRIFT_END_M = 0.40  # it stops this far from the middle of the table, 12 cm outside of the hand's workspace
SETTLE_S = 0.25  # physics before the first observation
SOLREF = (0.01, 1.0)  # contact time constant (s) and damping ratio; at 0.02 s a shaken block slips out


@dataclass(frozen=True)
class Domain:
    """Ranges of what differs between episodes, drawn per block from the episode's seed. A point is a constant."""

    mass_kg: tuple[float, float] = (0.064, 0.064)
    friction: tuple[float, float] = (1.0, 1.0)
    size_m: tuple[float, float] = (0.04, 0.04)  # edge length

    @property
    def fixed(self) -> bool:
        return all(low == high for low, high in (self.mass_kg, self.friction, self.size_m))

    def check(self) -> None:
        """Raises LudusError where a range is unusable."""
        limits = {"mass_kg": (0.005, 1.0), "friction": (0.05, 5.0), "size_m": (0.02, 0.06)}
        for name, (least, most) in limits.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise LudusError(f"domain {name} = ({low}, {high}) must be an ordered range within [{least}, {most}]")

    def draw(self, rng: np.random.Generator, n_blocks: int) -> np.ndarray:
        """`[n_blocks, 3]` mass (kg), friction, edge length (m)."""
        low, high = np.array([self.mass_kg, self.friction, self.size_m]).T
        return rng.uniform(low, high, (n_blocks, 3))


def build(n_blocks: int, timestep: float, domain: Domain, visuals: bool = False) -> Any:
    """Robot, table and blocks.

    Args:
        n_blocks: 1 to 8.
        timestep: s.
        domain: the middle of its ranges is compiled in.
        visuals: add cameras, lights and what else only pictures need; positions and joints stay the same.
    """
    spec = mj.MjSpec()
    spec.modelname = "blocks"
    spec.compiler.degree = False
    option = spec.option
    option.timestep = timestep
    option.integrator = mj.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mj.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10
    spec.memory = 4 << 20
    panda.add_panda(spec, visuals)
    table = spec.worldbody.add_geom(name="table", type=mj.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1])
    table.group, table.solref = 3, SOLREF
    mass, friction, size = np.mean([domain.mass_kg, domain.friction, domain.size_m], axis=1)
    for i, (colour, rgb) in enumerate(list(COLOURS.items())[:n_blocks]):
        block = spec.worldbody.add_body(name=colour, pos=[0.4, 0.06 * i - 0.2, size / 2])
        block.add_freejoint(name=colour)
        geom = block.add_geom(name=colour, type=mj.mjtGeom.mjGEOM_BOX, size=[size / 2] * 3, rgba=[*rgb, 1])
        geom.mass, geom.friction, geom.solref, geom.condim = mass, [friction, 0.005, 1e-4], SOLREF, 3
        geom.priority = 1  # a contact takes the block's friction, whatever it touches
        if not visuals:
            for other in ("pad_left", "pad_right", "table"):
                _touch_sensor(spec, f"{colour}/{other}", colour, other)
    if visuals:
        from ludus.worlds.blocks.visuals import add_scene_visuals

        add_scene_visuals(spec)
    return spec


def _touch_sensor(spec: Any, name: str, first: str, second: str) -> None:
    sensor = spec.add_sensor(name=name, type=mj.mjtSensor.mjSENS_CONTACT)
    sensor.objtype = sensor.reftype = mj.mjtObj.mjOBJ_GEOM
    sensor.objname, sensor.refname = first, second
    sensor.intprm[:3] = [1 << int(mj.mjtConDataField.mjCONDATA_FOUND), 0, 1]


@lru_cache(maxsize=1)
def _bank() -> tuple[np.ndarray, np.ndarray]:
    """`[n, 4]` poses (x, y, z, yaw) above the blocks and `[n, 7]` joint angles that reach them; the same everywhere."""
    rng = seeding.rng(0, "blocks", "bank")
    poses = rng.uniform(HAND_LOW, HAND_HIGH, (256, 4))
    return poses, control.solve(poses)


@dataclass
class Placement:
    """One simulation at reset, before it settles."""

    q: np.ndarray  # [7] rad
    width: float  # m between the pads
    command: float  # of the gripper, in [-1, 1]
    blocks: np.ndarray  # [N, 7] position (m) and quaternion (w, x, y, z)
    parameters: np.ndarray  # [N, 3] mass, friction, edge length
    drift: np.ndarray  # [N] m/s along y of a block that slides over the table, see `sliding`


def place(seed: int, start: str, n_blocks: int, domain: Domain) -> Placement:
    """Draw one scene.

    Raises:
        LudusError: unknown start, or one that needs more blocks.
    """
    if start not in STARTS:
        raise unknown("start", start, STARTS)
    if start in PAIR_STARTS and n_blocks < 2:
        raise LudusError(f"start {start!r} needs 2 blocks, the world has {n_blocks}; use n_blocks=2 or more")
    rng = seeding.rng(seed, "blocks", start)
    parameters = domain.draw(rng, n_blocks)
    sizes = parameters[:, 2]
    poses, joints = _bank()
    pick = int(rng.integers(len(poses)))
    order = rng.permutation(n_blocks)
    yaws = rng.uniform(-np.pi, np.pi, n_blocks)
    blocks = np.zeros((n_blocks, 7))
    width, command = 2 * panda.STROKE, -1.0

    offset = np.zeros((n_blocks, 3))  # of the first block from the second, where they form a pair
    first, second = order[0], order[1] if n_blocks > 1 else order[0]
    if start == "beside":
        yaws[first] = yaws[second] + rng.integers(4) * np.pi / 2
        apart = (sizes[first] + sizes[second]) / 2 + rng.uniform(0.001, 0.005)
        offset[first, :2] = apart * np.array([np.cos(yaws[second]), np.sin(yaws[second])])
    elif start == "stacked":
        offset[first] = [*rng.uniform(-0.005, 0.005, 2), sizes[second]]
    spots = _spots(rng, order, offset if start in PAIR_STARTS else None)
    blocks[:, :2] = spots
    blocks[:, 2] = sizes / 2 + offset[:, 2]
    if start == "held":
        x, y, z, yaw = poses[pick]
        blocks[first, :3] = [x, y, z]
        yaws[first] = yaw + rng.integers(4) * np.pi / 2
        width, command = float(sizes[first]), 1.0
    blocks[:, 3], blocks[:, 6] = np.cos(yaws / 2), np.sin(yaws / 2)
    drift = np.zeros(n_blocks)
    if start == "drifting":
        drift[first] = rng.uniform(*DRIFT_M_S) * rng.choice([-1, 1])
    return Placement(joints[pick].copy(), width, command, blocks, parameters, drift)


def sliding(drift: np.ndarray, position: np.ndarray, touch: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Which blocks slide during the next control step: those with a drift that lie on the table, neither touched by a pad nor
    with another block on them, and not at the end of the way. `[E, N]` bool.

    Args:
        drift: `[E, N]` m/s along y.
        position: `[E, N, 3]` m.
        touch: `[E, N, 3]` by the left pad, the right pad and the table.
        size: `[E, N]` m, edge length.
    """
    free = (drift != 0) & touch[..., 2].astype(bool) & ~touch[..., :2].any(-1)
    free &= position[..., 1] * np.sign(drift) < DRIFT_END_M
    apart = position[:, None] - position[:, :, None]  # [E, lower, upper, 3]
    edge = (size[:, None] + size[:, :, None]) / 2
    over = (np.hypot(apart[..., 0], apart[..., 1]) < edge) & (apart[..., 2] > edge / 2) & (apart[..., 2] < 1.5 * edge)
    return free & ~over.any(-1)


def _spots(rng: np.random.Generator, order: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
    """`[N, 2]` centres on the table, `SPACING` apart but for the pair `order[0]`, `order[1]` with its given offset."""
    low, high = np.array([X_RANGE, Y_RANGE]).T
    while True:
        spots: dict[int, np.ndarray] = {}
        for _ in range(400):
            block = int(order[len(spots)])
            spot = rng.uniform(low, high)
            if all(np.hypot(*(spot - other)) >= SPACING for other in spots.values()):
                spots[block] = spot
                if offset is not None and len(spots) == 1:
                    # `order[0]` was placed; its partner stands where the offset says
                    partner = spot - offset[block, :2]
                    if not ((low <= partner) & (partner <= high)).all():
                        spots.clear()
                        continue
                    spots[int(order[1])] = partner
            if len(spots) == len(order):
                return np.array([spots[i] for i in range(len(order))])
