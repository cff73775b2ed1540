"""The spatial and goal suites of LIBERO-PRO: a Panda at a table with bowls, a plate, a stove, a cabinet with drawers and a rack.

`ludus worlds install examples/libero_table.py:table` first. Scenes, controller and sources are those of libero.py beside this
file; objects and skills are in libero_table_words.py, starts with exchanged places in libero_table_starts.py, the teacher is in
libero_table_teacher.py. Which bowl a sentence means says libero_referring.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import ludus
from ludus import LudusError, WorldSpec
from ludus.worlds import files

words, starts = (files.load(Path(__file__).with_name(f"libero_table_{x}.py"))[0] for x in ("words", "starts"))
libero = words.libero
Base, Scene = libero.Libero, libero.Scene
KNOB, DRAWERS, MOVABLE, OBJECTS, SEEN = words.KNOB, words.DRAWERS, words.MOVABLE, words.OBJECTS, words.SEEN

LEAN_RAD = 0.9  # of the fingers from the vertical where the action is 1: over a drawer's handle, under the one above
# LIBERO's On and In are asked of what is at most so far from each other sideways, and touches where On says so
NEAR_M = 0.2
SNAPSHOT = 192  # numbers, of the largest scene or more
# of walls and neck, where these are held
THICK_M = {"bowl 1": 0.004, "bowl 2": 0.004, "plate": 0.006, "wine bottle": 0.014}


@dataclass(frozen=True)
class Options:
    suite: Literal["libero_spatial", "libero_spatial_swap", "libero_spatial_task", "libero_spatial_lan", "libero_goal",
                   "libero_goal_swap", "libero_goal_task", "libero_goal_lan", "both"] = "both"  # fmt: skip
    # where a caption begins: LIBERO's own sampler; then exchanged places; the 50 official states, for measuring
    starts: Literal["random", "exchanged", "official"] = "random"


# --- the simulations ---------------------------------------------------------------------------------------------------


class Table(Scene):
    """One task of a suite. Tasks of equal scenes, such as those of the goal suite, share LIBERO's environment in `loaded`."""

    things = MOVABLE

    def __init__(self, suite: Any, task: int, loaded: dict[str, Table]) -> None:
        from libero.libero.envs.bddl_utils import robosuite_parse_problem

        self.suite, self.task, self.file, self.loaded = suite, task, suite.get_task_bddl_file_path(task), loaded
        problem, text = robosuite_parse_problem(self.file), Path(self.file).read_text()
        self.goal, self.language = problem["goal_state"], " ".join(problem["language_instruction"])
        self.scene = re.sub(r"\s", "", re.sub(r"\(:(language|obj_of_interest|goal)[^:]*", "", text))
        self.names = {
            x: name for names in problem["objects"].values() for name in names if (x := words.NAMES.get(name))
        }
        there = problem["fixtures"].get("wooden_cabinet"), problem["fixtures"].get("flat_stove")
        self.targets = [(x, name) for name, x in words.TARGETS.items() if x in self.names or name in problem["regions"]]
        self.drawers = {x: name for name, x in words.REGIONS.items() if there[0]}
        self.stove = there[1][0] if there[1] else None
        what, x, *y = self.goal[0]
        names = {**words.TARGETS, **words.NAMES, "flat_stove_1": KNOB}
        self.caption = words.caption("on" if what == "in" else what, *(names[name] for name in (x, *y)))

    def load(self) -> Table:
        if hasattr(self, "env"):
            return self
        if self.scene in self.loaded:
            official = self.suite.get_task_init_states(self.task)
            own = {x: vars(self)[x] for x in ("suite", "task", "file", "goal", "language", "caption", "loaded")}
            vars(self).update({**vars(self.loaded[self.scene]), **own, "official": official})
            return self
        super().load()
        model = self.model
        bodies, sites = self.inner.obj_body_id, self.inner.object_sites_dict
        self.bodies = {x: bodies[name if name in bodies else sites[name].parent_name] for x, name in self.targets
                       if x not in (*DRAWERS, "stove front")}  # fmt: skip
        self.bodies |= {x: bodies[name] for x, name in self.names.items()}
        self.fixed = [bodies[name] for name in self.inner.fixtures_dict if name in bodies]
        names = [model.geom(i).name for i in range(model.ngeom)]
        self.tips = [[i for i, name in enumerate(names) if name.startswith(f"gripper0_finger{k}")] for k in (1, 2)]
        self.sites = {x: model.site(name).id for name, x in words.PLACES.items() if x in dict(self.targets)}
        self.handles = {x: self._handle(i, name) for i, (x, name) in enumerate(self.drawers.items(), len(MOVABLE))}
        if self.stove:
            self.knob = model.joint(f"{self.stove}_button")
            parts = np.flatnonzero((model.geom_bodyid == self.knob.bodyid[0]) & (model.geom_contype > 0))
            self.owner[parts] = len(MOVABLE) + len(DRAWERS)
            # the grip is the highest part
            self.grip = parts[np.argmax((self.env.sim.data._data.geom_xpos[parts] + self._reach(parts))[:, 2])]
        self.loaded[self.scene] = self
        return self

    def _reach(self, geoms: np.ndarray) -> np.ndarray:
        """`[n, 3]` half the edges of geoms' boxes along the world's axes. m."""
        turns = self.env.sim.data._data.geom_xmat[geoms].reshape(-1, 3, 3)
        return (np.abs(turns) * self.model.geom_size[geoms][:, None]).sum(-1)

    def put(self, data: Any, seed: int, kind: str) -> np.ndarray:
        """A simulation at a start. `[F, 7]`: where its fixtures are, which belong to the model that all simulations share."""
        # LIBERO adds a fixture's place to those of the areas on it, which have it already unless the model is loaded anew
        self.place(np.tile([0, 0, 0, 1.0, 0, 0, 0], (len(self.fixed), 1)))
        self.env.seed(seed % 2**32)
        self.env.reset()
        if kind == "official":  # says nothing of fixtures
            self.env.set_init_state(self.official[seed % len(self.official)])
        data.qpos[:], data.qvel[:] = self.env.sim.data.qpos, self.env.sim.data.qvel
        if kind == "exchanged":
            low = {box[0]: box[3][2] - box[2][2] / 2 for box in self.boxes if box is not None}
            starts.exchange(
                starts.Standing(self.model, data, low, self.fixed), np.random.default_rng([seed % 2**32, 1])
            )
        return np.concatenate([self.model.body_pos[self.fixed], self.model.body_quat[self.fixed]], 1)

    def place(self, fixtures: np.ndarray) -> None:
        """Put the fixtures where those of a simulation are."""
        self.model.body_pos[self.fixed], self.model.body_quat[self.fixed] = fixtures[:, :3], fixtures[:, 3:]

    def _handle(self, i: int, region: str) -> tuple[Any, int, np.ndarray]:
        """Joint, geom and edges, along the drawer's axes, of its handle, which is what stands out farthest."""
        model, data = self.model, self.env.sim.data._data
        joint = model.joint(region.replace("region", "level"))
        parts = np.flatnonzero((model.geom_bodyid == joint.bodyid[0]) & (model.geom_contype > 0))
        handle = parts[np.argmin(data.geom_xpos[parts] @ data.xaxis[joint.id])]  # it opens against the joint's axis
        self.owner[handle] = i
        turn = data.xmat[joint.bodyid[0]].reshape(3, 3).T @ data.geom_xmat[handle].reshape(3, 3)
        return joint, handle, 2 * np.abs(turn) @ model.geom_size[handle]

    def rests(self, data: Any, seen: dict[str, np.ndarray]) -> None:
        """Fill in LIBERO's own predicates."""
        at = {x: SEEN.get(seen, x, "position")[:2] for x, _ in self.targets}
        at |= {x: data.site_xpos[self.model.site(name).id][:2] - self.base[:2] for x, name in self.drawers.items()}
        roots = self.model.body_rootid[self.model.geom_bodyid]
        touching = {*zip(roots[data.contact.geom1], roots[data.contact.geom2], strict=True)}
        pairs = [(x, y, ("in" if y in DRAWERS else "on", self.names[x], name)) for x in self.names for y, name in self.targets
                 if x != y and np.hypot(*(SEEN.get(seen, x, "position")[:2] - at[y])) < NEAR_M
                 and (y not in self.bodies or (a := self.bodies[x], b := self.bodies[y]) in touching or (b, a) in touching)
                 ]  # fmt: skip
        drawers = [(x, ("open", name)) for x, name in self.drawers.items()]
        knob = [("on", ("turnon", self.stove)), ("off", ("turnoff", self.stove))] if self.stove else []
        atoms = (atom for *_, atom in (*pairs, *drawers, *knob))
        solved, *held = self.holds(data, *self.goal, *atoms)[len(self.goal) - 1 :]
        seen["gripper"][-1] = solved  # each goal of these suites is one predicate
        for (x, y, _), holds in zip(pairs, held, strict=False):
            SEEN.get(seen, x, "rests")[words.RESTS.index(y)] = holds
        for (x, _), holds in zip(drawers, held[len(pairs) :], strict=False):
            SEEN.get(seen, x, "open")[:] = holds
        for (name, _), holds in zip(knob, held[len(pairs) + len(drawers) :], strict=True):
            SEEN.get(seen, KNOB, name)[:] = holds


class LiberoTable(Base):
    """`starts`: 'random', LIBERO's own sampler in any scene; 'random X', in any scene that has X; 'official', the 50 official
    states of every task in turn; 'official N', those of task N; 'official CAPTION', those of the tasks with this goal.
    'exchanged' is 'random', after which things exchange their places."""

    def __init__(self, n_envs: int, options: Options) -> None:
        from libero.libero import benchmark

        self.n_envs, self.vocabulary, self.kind = n_envs, words.WORDS, options.starts
        loaded: dict[str, Table] = {}
        names = ("libero_spatial", "libero_goal") if options.suite == "both" else (options.suite,)
        suites = [benchmark.get_benchmark_dict()[name]() for name in names]
        self.scenes = [Table(suite, task, loaded) for suite in suites for task in range(suite.n_tasks)]
        goals = dict.fromkeys(scene.caption for scene in self.scenes)
        self.there = [x for x in OBJECTS if any(self._has(scene, x) for scene in self.scenes)]
        drawn = (f"{kind}{of}" for kind in ("random", "exchanged") for of in ("", *(f" {x}" for x in self.there)))
        starts = (*drawn, "official",
                  *(f"official {k}" for k in range(len(self.scenes))), *(f"official {goal}" for goal in goals))  # fmt: skip
        self.fixtures: list[np.ndarray] = [np.zeros((0, 7))] * n_envs
        # one name: a policy learned in one suite is measured in the others
        self.spec = WorldSpec("libero_table", OBJECTS, SEEN, ("x", "y", "z", "yaw", "lean", "grip"), control_hz=20,
                              episode_steps=words.LONG_STEPS, skill_steps=words.LONG_STEPS, starts=starts, cameras=(),
                              fingerprint=f"libero-table-3-{options.suite}-{libero.PACKAGE}")  # fmt: skip

    def library(self) -> ludus.SkillLibrary:
        """What some scene has all the things for."""
        whole = ludus.SkillLibrary(self.vocabulary, words.skills())
        return ludus.SkillLibrary(self.vocabulary, [s for s in whole if {*whole.mentioned(s.caption)} <= {*self.there}])

    def start_of(self, caption: str) -> str:
        if self.kind == "official":
            return f"official {caption}" if f"official {caption}" in self.spec.starts else "official"
        named = [x for x in self.library().mentioned(caption) if x in self.there]
        if {*named} & {*DRAWERS} and "wine bottle" in self.there:
            named = ["wine bottle"]  # it is in the goal suite; the other's cabinet is turned away from the robot
        return f"{self.kind} {min(named, key=self._scenes_with, default='')}".strip()

    def _scenes_with(self, x: str) -> int:
        return sum(self._has(scene, x) for scene in self.scenes)

    @staticmethod
    def _has(scene: Table, x: str) -> bool:
        return x in scene.names or x in dict(scene.targets) or x in scene.drawers or (x == KNOB and bool(scene.stove))

    def _scene(self, start: str, seed: int) -> int:
        fitting, official = self._fitting(start)
        return fitting[seed % len(fitting) if official else np.random.default_rng(seed).integers(len(fitting))]

    def _fitting(self, start: str) -> tuple[list[int], bool]:
        """The scenes of a start, and whether it is official."""
        if start not in self.spec.starts:
            raise LudusError(f"unknown start {start!r}; give one of {', '.join(self.spec.starts)}")
        kind, _, of = start.partition(" ")
        if kind == "official":
            return [k for k, s in enumerate(self.scenes) if not of or of in (str(k), s.caption)], True
        return [k for k, scene in enumerate(self.scenes) if not of or self._has(scene, of)], False

    def begin(self, i: int, seed: int, start: str) -> None:
        fitting, official = self._fitting(start)
        state = seed // len(fitting) if official else seed  # tasks take turns, then their states
        self.fixtures[i] = self.scenes[self.at[i]].put(self.data[i], state, start.partition(" ")[0])

    def snapshot(self) -> np.ndarray:
        rows = np.zeros((self.n_envs, SNAPSHOT))
        for i, (k, data) in enumerate(zip(self.at, self.data, strict=True)):
            parts = [k], self.fingers[i], data.qpos, data.qvel, data.qacc_warmstart, self.fixtures[i].ravel()
            whole = np.concatenate(parts)
            rows[i, : len(whole)] = whole
        return rows

    def act(self, i: int, action: np.ndarray) -> None:
        self.scenes[self.at[i]].place(self.fixtures[i])
        lean = LEAN_RAD * max(action[4], 0)
        libero.move(
            self.scenes[self.at[i]], self.data[i], action[[0, 1, 2, 3, 5]], self.fingers[i], partial(leant, lean=lean)
        )

    def look(self, scene: Table, data: Any, fingers: np.ndarray, seen: dict[str, np.ndarray]) -> None:
        for x in OBJECTS:
            SEEN.get(seen, x, "position")[:], SEEN.get(seen, x, "quaternion")[:] = libero.FAR, (1, 0, 0, 0)
        touched = touches(scene, data)
        at = data.site_xmat[scene.tcp].reshape(3, 3)
        seen["gripper"][:] = [*(data.site_xpos[scene.tcp] - scene.base), np.arctan2(-at[0, 0], at[1, 0]),
                              np.arccos(np.clip(-at[2, 2], -1, 1)), data.qpos[7] - data.qpos[8], fingers[1], 0]  # fmt: skip
        for i, (x, box) in enumerate(zip(MOVABLE, scene.boxes, strict=True)):
            if box is not None:
                body, stood, edges, centre = box
                matrix = data.xmat[body].reshape(3, 3) @ stood.T
                show(seen, x, data.xpos[body] + matrix @ centre - scene.base, matrix, edges, touched(i))
        for x, site in scene.sites.items():
            show(seen, x, data.site_xpos[site] - scene.base, np.eye(3), 2 * scene.model.site_size[site])
        for i, (x, (joint, handle, edges)) in enumerate(scene.handles.items(), len(MOVABLE)):
            facing = data.xmat[joint.bodyid[0]].reshape(3, 3) @ np.diag([-1.0, -1, 1])
            show(seen, x, data.geom_xpos[handle] - scene.base, facing, edges, touched(i))
            SEEN.get(seen, x, "opening")[:] = -data.qpos[joint.qposadr[0]]
        if scene.stove:
            place = [*data.xanchor[scene.knob.id][:2], data.geom_xpos[scene.grip][2]] - scene.base
            angle = data.qpos[scene.knob.qposadr[0]]
            turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
            show(seen, KNOB, place, turned, np.array([0.07, 0.024, 0.048]), touched(len(MOVABLE) + len(DRAWERS)))
            SEEN.get(seen, KNOB, "angle")[:] = angle
        scene.rests(data, seen)


def leant(turned: np.ndarray, lean: float) -> np.ndarray:
    """`[3, 3]` of the hand -> the turn after which its fingers lean, square to what they close along, which is level. rad."""
    along, fingers = turned[:, 0], turned[:, 2]
    level = np.array([along[0], along[1], 0]) / max(np.hypot(*along[:2]), 1e-6)
    aim = np.array([-level[1] * np.sin(lean), level[0] * np.sin(lean), -np.cos(lean)])
    way = np.cross(fingers, aim) + np.cross(along, level) * (lean > 0)
    return way * min(1, libero.TURN_RAD / max(np.linalg.norm(way), 1e-9))


def touches(scene: Table, data: Any) -> Any:
    """A function that says of the i-th owner of geoms whether the left and the right finger touch it."""
    first, second = data.contact.geom1, data.contact.geom2
    sides = [
        {*scene.owner[second[np.isin(first, tips)]], *scene.owner[first[np.isin(second, tips)]]} for tips in scene.tips
    ]
    return lambda i: [i in side for side in sides]


def show(seen: dict[str, np.ndarray], x: str, place: np.ndarray, turned: np.ndarray, edges: np.ndarray,
         touched: Any = (0, 0)) -> None:  # fmt: skip
    import mujoco

    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, turned.ravel())
    size = THICK_M.get(x, edges[1 if x in DRAWERS or x == KNOB else slice(2)].min())
    pose = [*place, *quaternion * np.sign(quaternion[0] or 1), size, *edges, *touched, 1]
    seen[x][: len(pose)] = pose


# --- the teacher, in a file of its own ---------------------------------------------------------------------------------


def teacher(spec: WorldSpec) -> Any:
    module, _ = files.load(Path(__file__).with_name("libero_table_teacher.py"))
    return module.Teacher(spec)


table = ludus.WorldKind(lambda config: LiberoTable(config.n_envs, ludus.read_options(Options, config)), teacher, options=Options,
                  requirements=(libero.PACKAGE,), timeout_s=300)  # fmt: skip
