"""The built-in world: E Pandas over a table of coloured blocks, stepped together by `mujoco.batch`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ludus import machine
from ludus.skills.library import SkillLibrary
from ludus.skills.predicates import block_vocabulary
from ludus.types import LudusError, Observations, unknown
from ludus.worlds.base import World
from ludus.worlds.blocks import control, layout, scene
from ludus.worlds.blocks.panda import Batch, mj
from ludus.worlds.blocks.skills import base_skills

TIMESTEP = 1 / 300  # s; benchmarks/grasp.py: how many grasps survive a violent shake at which timestep


class BlocksWorld(World):
    """See `ludus.worlds.base.World`. Objects are named by colour, in the order of `scene.COLOURS`.

    Args:
        n_blocks: 1 to 8.
        n_envs: simulations stepped together.
        threads: of physics; 0 takes every core that this process may use. Results do not depend on it.
        domain: ranges of block mass, friction and size; by default every block is nominal.
        timestep: of physics, s; must divide the control step of 0.05 s.

    Raises:
        LudusError: any of these out of range.
    """

    def __init__(
        self,
        n_blocks: int = 3,
        n_envs: int = 128,
        threads: int = 0,
        domain: scene.Domain | None = None,
        timestep: float = TIMESTEP,
    ) -> None:
        if not 1 <= n_blocks <= scene.MAX_BLOCKS:
            raise LudusError(f"n_blocks = {n_blocks} must be 1 to {scene.MAX_BLOCKS}")
        if n_envs < 1:
            raise LudusError(f"n_envs = {n_envs} must be at least 1")
        if threads < 0:
            raise LudusError(f"threads = {threads} must be 0 (all cores) or more")
        self.substeps = round(1 / (control.HZ * timestep))
        if self.substeps < 1 or abs(self.substeps * timestep * control.HZ - 1) > 1e-6:
            raise LudusError(f"timestep = {timestep} s must divide the control step of {1 / control.HZ} s, e.g. 1/300")
        self.domain = domain or scene.Domain()
        self.domain.check()
        self.n_blocks, self.n_envs, self._timestep = n_blocks, n_envs, timestep
        spec = scene.build(n_blocks, timestep, self.domain)
        self.model = spec.compile()
        self.batch = Batch(self.model, n_envs, machine.threads(threads))
        self.spec = layout.world_spec(n_blocks, self.domain, self.substeps, spec.to_xml())
        self.vocabulary = block_vocabulary(self.spec.observation)

        b = self.batch
        self._qpos, self._qvel, self._act, self._ctrl = b.bind("qpos"), b.bind("qvel"), b.bind("act"), b.bind("ctrl")
        tcp, hand = self.model.site("tcp").id, self.model.body("hand").id
        self._tcp, self._tcp_mat = b.bind("site_xpos")[:, tcp], b.bind("site_xmat")[:, tcp].reshape(n_envs, 3, 3)
        self._hand_quat = b.bind("xquat")[:, hand]
        self._anchor, self._axis = b.bind("xanchor")[:, :7], b.bind("xaxis")[:, :7]
        first = self.model.body("red").id
        self._block_mat = b.bind("xmat")[:, first : first + n_blocks].reshape(n_envs, n_blocks, 3, 3)
        self._sensors = b.bind("sensordata").reshape(n_envs, n_blocks, 3)
        # The drift of a sliding block is kept in the physics' state as a force of as many newtons (a twentieth of its weight),
        # so that snapshots hold it and keep their layout.
        free_joints = b.bind("qfrc_applied")[:, 9:].reshape(n_envs, n_blocks, 6)
        self._drift = free_joints[..., 1]
        self._warnings = b.warning[..., 1]  # counts
        self._fresh = b.state[0].copy()  # a simulation's default state

        self._control = np.zeros((n_envs, control.STATE))
        self._touch = np.zeros((n_envs, n_blocks, 3))
        self._parameters = np.zeros((n_envs, n_blocks, 3))
        self._parameters[:] = np.mean([self.domain.mass_kg, self.domain.friction, self.domain.size_m], axis=1)
        self._jacobian = np.empty((n_envs, 7, 6))
        self._started = False
        self._awake: np.ndarray | None = None  # simulations that are stepped; None: all

    def reset(
        self, seeds: Sequence[int], start: str | Sequence[str] = "scattered", ids: Sequence[int] | None = None
    ) -> Observations:
        """Start simulation i from `seeds[i]`; with `ids` only those simulations, the others stay as they are.

        Args:
            seeds: one per simulation to be reset.
            start: of all of them, or one each.
            ids: sorted and unique; None for all.

        Returns:
            `[E, size]` per group, of every simulation.

        Raises:
            LudusError: unknown start, not as many seeds as simulations, or ids that are no simulations.
        """
        E = self.n_envs
        rows = np.arange(E) if ids is None else np.asarray(ids, dtype=np.int64)
        if ids is not None and (rows.ndim != 1 or (np.diff(rows) <= 0).any() or (rows < 0).any() or (rows >= E).any()):
            raise LudusError(f"ids = {list(ids)} must be increasing numbers of simulations, 0 to {E - 1}")
        starts = [start] * len(rows) if isinstance(start, str) else list(start)
        if len(seeds) != len(rows) or len(starts) != len(rows):
            raise LudusError(f"{len(seeds)} seeds and {len(starts)} starts for {len(rows)} simulations; give one each")
        placed = [scene.place(int(s), t, self.n_blocks, self.domain) for s, t in zip(seeds, starts, strict=True)]
        state, qpos = self.batch.state, self._qpos
        state[rows] = self._fresh
        q = np.stack([p.q for p in placed])
        width = np.array([p.width for p in placed])
        qpos[rows, :7] = self._act[rows] = q
        qpos[rows, 7:9] = width[:, None] / 2
        qpos[rows, 9:] = np.stack([p.blocks.ravel() for p in placed])
        self._drift[rows] = np.stack([p.drift for p in placed])
        self._control[rows, 4] = [p.command for p in placed]
        self._ctrl[rows, 7] = control.grip(self._control[rows, 4], width)
        self._parameters[rows] = np.stack([p.parameters for p in placed])
        if not self.domain.fixed:
            self._apply_parameters(rows)
        self.batch.step(rows, round(scene.SETTLE_S / self._timestep), mj.mjtStage.mjSTAGE_POS.value)
        self._touch[rows] = self._sensors[rows] > 0
        self._control[rows, :3] = self._tcp[rows]
        self._control[rows, 3] = control.yaw_of(self._tcp_mat[rows])
        self.batch.bind("time")[rows] = 0
        if ids is not None:
            self.batch.forward(stage=mj.mjtStage.mjSTAGE_POS.value)
        self._started, self._awake = True, None
        return self.observe()

    def rest(self, resting: np.ndarray) -> None:
        """See `World.rest`. Their physics is not computed; the rest of a step costs little."""
        self._awake = np.flatnonzero(~resting) if resting.any() else None

    def step(self, actions: np.ndarray) -> Observations:
        """One control step of 0.05 s. See `World.step`.

        Raises:
            LudusError: wrong shape, NaN, before the first reset, or the physics blew up.
        """
        if not self._started:
            raise LudusError("step before reset; call reset(seeds) first")
        if np.shape(actions) != (self.n_envs, len(control.ACTIONS)):
            raise LudusError(f"actions of shape {np.shape(actions)} must be ({self.n_envs}, {len(control.ACTIONS)})")
        actions = np.clip(actions, -1.0, 1.0, dtype=np.float64)
        if np.isnan(actions).any():
            rows = np.flatnonzero(np.isnan(actions).any(1))
            raise LudusError(f"actions of simulations {rows[:5].tolist()} contain NaN; they must lie in [-1, 1]")
        q, width = self._qpos[:, :7], self._qpos[:, 7] + self._qpos[:, 8]
        arm = control.ArmState(self._tcp, self._tcp_mat, self._jac(), q, self._qvel[:, :7], self._act, width)
        self._ctrl[:] = control.follow(self._control, actions, arm)
        slides = self._slide()
        self.batch.step(self._awake, self.substeps, mj.mjtStage.mjSTAGE_POS.value)
        if slides is not None:
            self._qvel[:, 9:].reshape(self.n_envs, self.n_blocks, 6)[..., 1][slides] = self._drift[slides]
        # MuJoCo puts a simulation that blew up back to its defaults and counts a warning: such data must not go on.
        if np.count_nonzero(self._warnings) > 0:
            broken = np.flatnonzero(self._warnings.any(1))
            self._warnings[:] = 0
            raise LudusError(
                f"physics of simulations {broken[:5].tolist()} became unstable at timestep {self._timestep:.4g} s; "
                "use a smaller timestep, or milder domain ranges"
            )
        np.greater(self._sensors, 0, out=self._touch)
        return self.observe()

    def _slide(self) -> np.ndarray | None:
        """Move the sliding blocks by one control step of their drift: `[E, N]` which; None: none. A velocity alone would be
        braked by friction within one step of physics."""
        if not self._drift.any():
            return None
        blocks = self._qpos[:, 9:].reshape(self.n_envs, self.n_blocks, 7)
        slides = scene.sliding(self._drift, blocks[..., :3], self._touch, self._parameters[..., 2])
        blocks[..., 1] += np.where(slides, self._drift / control.HZ, 0)
        return slides

    def _jac(self) -> np.ndarray:
        """`[E, 6, 7]` Jacobian of the tcp, from joint axes that the position stage has just computed."""
        arm = self._tcp[:, None] - self._anchor
        a, j = self._axis, self._jacobian
        j[..., 0] = a[..., 1] * arm[..., 2] - a[..., 2] * arm[..., 1]
        j[..., 1] = a[..., 2] * arm[..., 0] - a[..., 0] * arm[..., 2]
        j[..., 2] = a[..., 0] * arm[..., 1] - a[..., 1] * arm[..., 0]
        j[..., 3:] = a
        return j.transpose(0, 2, 1)

    def observe(self) -> Observations:
        """See `World.observe`."""
        E, N, qpos, qvel = self.n_envs, self.n_blocks, self._qpos, self._qvel
        arm = np.empty((E, layout.ARM_SIZE), np.float32)
        arm[:, :7] = qpos[:, :7]
        arm[:, 7:] = qvel[:, :7]
        gripper = np.empty((E, layout.GRIPPER_SIZE), np.float32)
        gripper[:, 0:3] = self._tcp
        gripper[:, 3:7] = self._hand_quat
        gripper[:, 7] = control.yaw_of(self._tcp_mat)
        gripper[:, 8] = qpos[:, 7] + qpos[:, 8]
        gripper[:, 9:12] = np.einsum("eij,ej->ei", self._jac()[:, :3], qvel[:, :7])
        gripper[:, 12:14] = qpos[:, 7:9]
        gripper[:, 14] = self._control[:, 4]
        blocks = np.empty((N, E, layout.BLOCK_SIZE), np.float32)
        by_env = blocks.transpose(1, 0, 2)
        motion = qvel[:, 9:].reshape(E, N, 6)
        by_env[..., 0:7] = qpos[:, 9:].reshape(E, N, 7)
        by_env[..., 7:10] = motion[..., :3]
        by_env[..., 10:13] = (self._block_mat @ motion[..., 3:, None])[..., 0]
        by_env[..., 13:16] = self._touch
        by_env[..., 16] = self._parameters[..., 2]
        return {"arm": arm, "gripper": gripper} | dict(zip(self.spec.objects, blocks, strict=True))

    def snapshot(self) -> np.ndarray:
        """See `World.snapshot`: physics with warm start, controller, touch flags, domain parameters."""
        E = self.n_envs
        parts = [self.batch.state, self._control, self._touch.reshape(E, -1), self._parameters.reshape(E, -1)]
        return np.concatenate(parts, axis=1)

    def restore(self, snapshot: np.ndarray) -> Observations:
        """See `World.restore`.

        Raises:
            LudusError: not the shape of this world's snapshots.
        """
        E, widths = self.n_envs, [self.batch.nstate, control.STATE, 3 * self.n_blocks, 3 * self.n_blocks]
        if snapshot.shape != (E, sum(widths)):
            raise LudusError(f"snapshot of shape {snapshot.shape} does not fit this world's {(E, sum(widths))}")
        physics, controller, touch, parameters = np.split(snapshot, np.cumsum(widths)[:-1], axis=1)
        self.batch.state[:] = physics
        self._control[:] = controller
        self._touch[:] = touch.reshape(self._touch.shape)
        self._parameters[:] = parameters.reshape(self._parameters.shape)
        if not self.domain.fixed:
            self._apply_parameters(np.arange(E))
        self.batch.forward(stage=mj.mjtStage.mjSTAGE_POS.value)
        self._started, self._awake = True, None
        return self.observe()

    def _apply_parameters(self, rows: np.ndarray) -> None:
        """Write mass, friction and size of the blocks into the model of each simulation."""
        b, m, n = self.batch, self.model, self.n_blocks
        body = m.body("red").id
        bodies = slice(body, body + n)
        geoms = [m.geom(c).id for c in self.spec.objects]
        mass, friction, size = np.moveaxis(self._parameters[rows], -1, 0)
        half = size / 2
        b.expand("body_mass")[rows, bodies] = mass
        b.expand("body_inertia")[rows, bodies] = (mass * size**2 / 6)[..., None]
        b.expand("geom_friction")[rows[:, None], geoms, 0] = friction
        b.expand("geom_size")[rows[:, None], geoms] = half[..., None]
        b.expand("geom_rbound")[rows[:, None], geoms] = half * np.sqrt(3)
        b.expand("geom_aabb")[rows[:, None], geoms, 3:] = half[..., None]
        bvh = [m.body_bvhadr[body + i] for i in range(n)]
        b.expand("bvh_aabb")[rows[:, None], bvh, 3:] = half[..., None]
        b.set_const(rows.astype(np.int32))

    def frames(self, observations: Observations, camera: str | None = None, size: int = 256) -> np.ndarray:
        """See `World.frames`.

        Raises:
            LudusError: unknown camera, or no OpenGL, with what to install.
        """
        camera = camera or self.spec.cameras[0]
        if camera not in self.spec.cameras:
            raise unknown("camera", camera, self.spec.cameras)
        get = self.spec.observation.get
        arm, gripper = observations["arm"], self.spec.observation.by_name["gripper"].slices
        qpos = [arm[:, :7], observations["gripper"][:, gripper["finger_position"]]]
        qpos += [observations[c][:, :7] for c in self.spec.objects]
        qpos = np.concatenate(qpos, axis=1).astype(np.float64)
        sizes = np.concatenate([get(observations, c, "size") for c in self.spec.objects], axis=1)
        return self._renderer.render(qpos, camera, size, sizes=sizes)

    @cached_property
    def _renderer(self):
        from ludus.worlds.render import Renderer

        return Renderer(scene.build(self.n_blocks, self._timestep, self.domain, visuals=True).compile())

    def library(self) -> SkillLibrary:
        """The base skills of this world."""
        return SkillLibrary(self.vocabulary, base_skills(self.spec.objects))

    def close(self) -> None:
        """Release the renderer, if pictures were made."""
        if "_renderer" in self.__dict__:
            self._renderer.close()
            del self.__dict__["_renderer"]
