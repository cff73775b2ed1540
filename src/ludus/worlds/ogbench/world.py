"""The cube worlds of OGBench (Park et al., 2025, arXiv 2410.20092) as a `World`: a UR5e with a Robotiq gripper, one to
eight cubes, and a goal for each. Physics, action space, resets, goals and the test of success are the package's own.

A cube's goal is an object of its own, 'red goal', so that a caption can name both and a policy sees where the cube is to go.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from ludus import machine
from ludus.seeding import rng
from ludus.skills.library import SkillLibrary
from ludus.skills.predicates import block_vocabulary
from ludus.types import Field, Group, LudusError, Observations, ObservationSpec, WorldSpec, unknown
from ludus.worlds.base import World, starts_of
from ludus.worlds.blocks import cube_encoder
from ludus.worlds.ogbench.skills import base_skills

try:
    import mujoco
except ImportError as error:
    raise LudusError(f"world ogbench needs MuJoCo ({error}); pip install 'ludus[ogbench]'") from None

mj: Any = mujoco  # no type stubs

VARIANTS = {"single": (1, 200), "double": (2, 500), "triple": (3, 1000), "quadruple": (4, 1000), "octuple": (8, 1500)}
"""Number of cubes and control steps of an evaluation episode (OGBench's registry)."""
COLOURS = ("red", "blue", "orange", "green", "purple", "yellow", "magenta", "gray")
N_TASKS = 5
CUBE_M = 0.04
CLOSED_PADS_M = 0.0138
"""Distance of the pads' bodies when a 4 cm cube is held, less 4 cm: what is to be taken off for the distance of their faces."""
SKILL_STEPS = 100
"""OGBench's oracle takes 5 s, with its pauses, to carry a cube."""
STATE = int(mj.mjtState.mjSTATE_INTEGRATION)

ARM = (Field("joint_position", (6,), "rad", "angles"), Field("joint_velocity", (6,), "rad/s", "their velocities"))
GRIPPER = (
    Field("position", (3,), "m", "point between the pads, in the world"),
    Field("yaw", (1,), "rad", "heading of the gripper"),
    Field("width", (1,), "m", "distance between the pads"),
    Field("command", (1,), "1", "last gripper action: positive closes"),
    Field("opening", (1,), "1", "OGBench's measure: 0 open, 1 closed"),
    Field("linkage", (8,), "rad", "angles of the gripper's joints"),
)
CUBE = (
    Field("position", (3,), "m", "centre, in the world"),
    Field("quaternion", (4,), "1", "w, x, y, z"),
    Field("velocity", (3,), "m/s", "of the centre; 0 for a goal"),
    Field("touch_left", (1,), "1", "1 if the left pad touches it"),
    Field("touch_right", (1,), "1", "1 if the right pad touches it"),
    Field("size", (1,), "m", "edge length"),
)


def goal_of(cube: str) -> str:
    """The name of a cube's goal."""
    return f"{cube} goal"


class CubesWorld(World):
    """See `ludus.worlds.base.World`. Starts: 'scattered' is OGBench's start of data collection (random cubes and goals; of
    several goals all but one lie on the table), 'task1' to 'task5' those of its evaluation tasks.

    Args:
        variant: single, double, triple, quadruple or octuple.
        threads: 0 takes every core that this process may use. Results do not depend on it.

    Raises:
        LudusError: unknown variant, or the package `ogbench` is not installed.
    """

    def __init__(self, variant: str = "single", n_envs: int = 16, threads: int = 0) -> None:
        if variant not in VARIANTS:
            raise unknown("variant of the ogbench cubes", variant, tuple(VARIANTS))
        if n_envs < 1:
            raise LudusError(f"n_envs = {n_envs} must be at least 1")
        self.variant, self.n_envs = variant, n_envs
        n_cubes, episode_steps = VARIANTS[variant]
        self.cubes = COLOURS[:n_cubes]
        self.spec = self._spec(episode_steps)
        self.vocabulary = block_vocabulary(self.spec.observation, self.spec.objects)
        first = simulation(variant)
        self.simulations = [first, *(_twin(first) for _ in range(n_envs - 1))]
        self._pool = ThreadPoolExecutor(machine.threads(threads))
        model = first._model
        self._driver = model.joint("ur5e/robotiq/right_driver_joint").qposadr[0]
        self._arm = first._arm_joint_ids
        self._linkage = np.array([model.joint(j.full_identifier).qposadr[0] for j in first._gripper_jnts])
        self._pads = [model.body(f"ur5e/robotiq/{side}_pad").id for side in ("left", "right")]
        self._bodies = [model.body(f"object_{i}").id for i in range(n_cubes)]
        self._joints = [(j.qposadr[0], j.dofadr[0]) for j in (model.joint(f"object_joint_{i}") for i in range(n_cubes))]
        self._n_state = mj.mj_stateSize(model, STATE)
        self._seen = np.zeros((n_envs, sum(g.size for g in self.spec.observation.groups)), np.float32)
        self._started = False
        self._awake: Iterable[int] = range(n_envs)  # simulations that are stepped

    def _spec(self, episode_steps: int) -> WorldSpec:
        objects = tuple(name for cube in self.cubes for name in (cube, goal_of(cube)))
        groups = (Group("arm", "arm", ARM), Group("gripper", "effector", GRIPPER))
        groups += tuple(Group(name, "object", CUBE, movable=name in self.cubes) for name in objects)
        made = [self.variant, *((g.name, [f.name for f in g.fields]) for g in groups)]
        return WorldSpec(
            name="ogbench",
            objects=objects,
            observation=ObservationSpec(groups),
            actions=("x", "y", "z", "yaw", "close"),
            control_hz=20,
            episode_steps=episode_steps,
            skill_steps=SKILL_STEPS,
            starts=("scattered", *(f"task{k}" for k in range(1, N_TASKS + 1))),
            cameras=("front",),
            fingerprint=hashlib.blake2b(json.dumps(made).encode(), digest_size=6).hexdigest(),
            encoder=cube_encoder,
        )

    # --- World --------------------------------------------------------------------------------------------------

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] = "scattered") -> Observations:
        """See `World.reset`."""
        starts = starts_of(self.spec, self.n_envs, seeds, start)

        def begin(i: int) -> None:
            reset_simulation(self.simulations[i], seeds[i], starts[i])
            self._record(i, 0.0)

        list(self._pool.map(begin, range(self.n_envs)))
        self._started, self._awake = True, range(self.n_envs)
        return self.observe()

    def rest(self, resting: np.ndarray) -> None:
        """See `World.rest`."""
        self._awake = np.flatnonzero(~resting)

    def step(self, actions: np.ndarray) -> Observations:
        """See `World.step`."""
        if not self._started:
            raise LudusError("step before reset: call reset(seeds) first")
        if np.shape(actions) != (self.n_envs, 5) or not np.isfinite(actions).all():
            raise LudusError(
                f"actions must be finite numbers of shape {(self.n_envs, 5)}, these are {np.shape(actions)}"
            )
        actions = np.clip(actions, -1, 1)

        def advance(i: int) -> None:
            move(self.simulations[i], actions[i])
            self._record(i, float(actions[i, 4]))

        list(self._pool.map(advance, self._awake))
        return self.observe()

    def observe(self) -> Observations:
        """See `World.observe`."""
        return self.split(self._seen.copy())

    def split(self, rows: np.ndarray) -> Observations:
        """Groups side by side `[..., D]` -> one array per group."""
        start, groups = 0, {}
        for group in self.spec.observation.groups:
            groups[group.name] = rows[..., start : start + group.size]
            start += group.size
        return groups

    def snapshot(self) -> np.ndarray:
        """See `World.snapshot`. OGBench's controller reads the gripper's pose as it was before the last physics step, so
        that is part of the state."""
        rows = np.empty((self.n_envs, self._n_state + 12 + self._seen.shape[1]))
        for row, simulation, seen in zip(rows, self.simulations, self._seen, strict=True):
            data, site = simulation._data, simulation._pinch_site_id
            state = np.empty(self._n_state)
            mj.mj_getState(simulation._model, data, state, STATE)
            row[:] = np.concatenate([state, data.site_xpos[site], data.site_xmat[site], seen])
        return rows

    def restore(self, snapshot: np.ndarray) -> Observations:
        """See `World.restore`."""
        for i, (row, simulation) in enumerate(zip(snapshot, self.simulations, strict=True)):
            data, site, n = simulation._data, simulation._pinch_site_id, self._n_state
            mj.mj_setState(simulation._model, data, np.ascontiguousarray(row[:n]), STATE)
            warm = data.qacc_warmstart.copy()
            mj.mj_forward(simulation._model, data)
            data.qacc_warmstart[:] = warm
            data.site_xpos[site], data.site_xmat[site] = row[n : n + 3], row[n + 3 : n + 12]
            self._seen[i] = row[n + 12 :]
        self._started, self._awake = True, range(self.n_envs)
        return self.observe()

    def library(self) -> SkillLibrary:
        """See `World.library`."""
        return SkillLibrary(self.vocabulary, base_skills(self.cubes))

    def frames(self, observations: Observations, camera: str | None = None, size: int = 256) -> np.ndarray:
        """See `World.frames`."""
        camera = camera or self.spec.cameras[0]
        if camera not in self.spec.cameras:
            raise unknown("camera", camera, self.spec.cameras)
        model, get = self.simulations[0]._model, self.spec.observation.get
        n = len(observations["arm"])
        qpos = np.zeros((n, model.nq))
        qpos[:, self._arm] = observations["arm"][:, :6]
        qpos[:, self._linkage] = get(observations, "gripper", "linkage")
        mocap = np.zeros((n, len(self.cubes), 7))
        for i, (cube, (at, _)) in enumerate(zip(self.cubes, self._joints, strict=True)):
            qpos[:, at : at + 7] = observations[cube][:, :7]
            mocap[:, i] = observations[goal_of(cube)][:, :7]
        return self._renderer.render(qpos, camera, size, mocap=mocap)

    @cached_property
    def _renderer(self):
        from ludus.worlds.render import Renderer

        return Renderer(copy.copy(self.simulations[0]._model))

    def close(self) -> None:
        """See `World.close`."""
        self._pool.shutdown()
        if "_renderer" in self.__dict__:
            self._renderer.close()

    # --- observing ----------------------------------------------------------------------------------------------

    def _record(self, i: int, command: float) -> None:
        self._seen[i] = self.row(self.simulations[i], command)

    def row(self, simulation: Any, command: float) -> np.ndarray:
        """What one of the package's environments shows, `[D]`: the groups of `spec.observation` side by side."""
        data, site = simulation._data, simulation._pinch_site_id
        mat = data.site_xmat[site]
        opening = np.clip(data.qpos[self._driver] / 0.8, 0, 1)
        pads = float(np.linalg.norm(data.xpos[self._pads[0]] - data.xpos[self._pads[1]])) - CLOSED_PADS_M
        parts = [
            data.qpos[self._arm],
            data.qvel[self._arm],
            data.site_xpos[site],
            [np.arctan2(mat[3], mat[0]), max(0.0, pads), command, opening],
            data.qpos[self._linkage],
        ]
        touching = self._touching(simulation)
        for i, (position, velocity) in enumerate(self._joints):
            goal = simulation._cube_target_mocap_ids[i]
            left, right = ((self._bodies[i], pad) in touching for pad in self._pads)
            parts += [data.qpos[position : position + 7], data.qvel[velocity : velocity + 3], [left, right, CUBE_M]]
            parts += [data.mocap_pos[goal], data.mocap_quat[goal], [0, 0, 0, 0, 0, CUBE_M]]
        return np.concatenate(parts)

    def _touching(self, simulation: Any) -> set[tuple[int, int]]:
        """`(cube's body, pad's body)` of every contact between the two."""
        pairs = simulation._model.geom_bodyid[simulation._data.contact.geom]
        # the silicone of a pad hangs on a body of its own
        owner = {pad + k: pad for pad in self._pads for k in (0, 1)}
        found = set()
        for a, b in pairs.tolist():
            cube, other = (a, b) if a in self._bodies else (b, a)
            if cube in self._bodies and other in owner:
                found.add((cube, owner[other]))
        return found


# --- OGBench's environment----------------------------------------------------------------------------------------


def simulation(variant: str) -> Any:
    """One of the package's environments, never reset.

    Raises:
        LudusError: the package is not installed.
    """
    try:
        from ogbench.manipspace.envs.cube_env import CubeEnv
    except ImportError as error:
        raise LudusError(f"world ogbench needs the package ogbench ({error}); pip install 'ludus[ogbench]'") from None

    class Seeded(CubeEnv):
        @property
        def action_space(self) -> Any:  # OGBench's makes an unseeded one at every call, and samples from it in `reset`
            space = super().action_space
            space.seed(int(self.np_random.integers(2**31)))
            return space

    made: Any = Seeded(variant, mode="task", terminate_at_goal=False)
    made.reset(seed=0, options={"task_id": 1})
    return made


def _twin(first: Any) -> Any:
    """Another environment on the same model: compiling one takes seconds."""
    twin = copy.copy(first)
    twin._data = mj.MjData(first._model)
    twin._ik = copy.copy(first._ik)
    for name, value in vars(first._ik).items():  # its buffers: two threads must not share them
        if isinstance(value, np.ndarray):
            setattr(twin._ik, name, value.copy())
    twin._ik._data = mj.MjData(first._ik._model)
    return twin


def reset_simulation(simulation: Any, seed: int, start: str) -> None:
    """OGBench's reset, all of it drawn from `seed`."""
    simulation._mode = "data_collection" if start == "scattered" else "task"
    options = {} if start == "scattered" else {"task_id": int(start.removeprefix("task"))}
    simulation.reset(seed=int(rng(seed, "ogbench").integers(2**31)), options=options)
    if start == "scattered":
        show_other_goals(simulation, rng(seed, "other goals"))


def show_other_goals(simulation: Any, draw: np.random.Generator, share: float = 1.0) -> None:
    """Put this share of the goals that OGBench hides while it collects, all but that of one cube, on the table."""
    for i, goal in enumerate(simulation._cube_target_mocap_ids):
        if i != simulation._target_block and draw.random() < share:
            simulation._data.mocap_pos[goal] = *draw.uniform(*simulation._target_sampling_bounds), CUBE_M / 2


def move(simulation: Any, action: np.ndarray) -> None:
    """OGBench's control step, without what it computes for display."""
    simulation.set_control(action)
    mj.mj_step(simulation._model, simulation._data, nstep=simulation._n_steps)
