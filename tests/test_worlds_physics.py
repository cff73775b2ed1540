"""The blocks world against physics: a real Panda's kinematics and limits, contacts that hold, the same bits always."""

import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np
import pytest

from ludus.worlds.blocks import control, panda, scene
from ludus.worlds.blocks.world import TIMESTEP, BlocksWorld

REFERENCE = "pip install --no-deps dm-robotics-panda"


def random_actions(rng: np.random.Generator, n_envs: int) -> np.ndarray:
    """Bang-bang: the harshest a policy can be."""
    return rng.choice([-1.0, 0.3, 1.0], (n_envs, 5))


def flat(observations: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(observations.values()), axis=1)


def reference_panda() -> mujoco.MjModel:
    """Arm and hand of dm-robotics-panda without its meshes: someone else's kinematics."""
    try:
        found = importlib.util.find_spec("dm_robotics.panda")
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        pytest.skip(f"independent Panda model missing: {REFERENCE}")
    folder = Path(found.origin).parent / "assets" / "panda"

    def spec(name: str) -> mujoco.MjSpec:
        root = ET.parse(folder / name).getroot()
        for parent in root.iter():
            for child in [c for c in parent if c.tag in ("geom", "asset")]:
                parent.remove(child)
        return mujoco.MjSpec.from_string(ET.tostring(root, encoding="unicode"))

    arm, hand = spec("panda.xml"), spec("panda_hand.xml")
    mount = arm.body("panda_link8").add_frame(quat=[np.cos(np.pi / 8), 0, 0, -np.sin(np.pi / 8)])
    mount.attach_body(hand.body("panda_hand"), "hand_", "")
    return arm.compile()


def test_forward_kinematics_equal_an_independent_panda() -> None:
    theirs, ours = reference_panda(), scene.build(1, TIMESTEP, scene.Domain()).compile()
    them, us = mujoco.MjData(theirs), mujoco.MjData(ours)
    rng = np.random.default_rng(0)
    for q in rng.uniform(*panda.RANGE.T, (200, 7)):
        fingers = rng.uniform(0, 0.04)
        for i in range(7):
            them.joint(f"panda_joint{i + 1}").qpos = us.joint(f"joint{i + 1}").qpos = q[i]
        for name in ("hand_panda_finger_joint1", "hand_panda_finger_joint2"):
            them.joint(name).qpos = fingers
        us.joint("finger_left").qpos = us.joint("finger_right").qpos = fingers
        mujoco.mj_kinematics(theirs, them)
        mujoco.mj_kinematics(ours, us)
        for i in range(8):
            assert np.abs(them.body(f"panda_link{i}").xpos - us.body(f"link{i}").xpos).max() < 1e-4
        assert np.abs(them.site("hand_TCP").xpos - us.site("tcp").xpos).max() < 1e-4
        assert np.abs(them.site("hand_TCP").xmat - us.site("tcp").xmat).max() < 1e-4
        reference = sorted([them.body(f"hand_panda_{s}finger").xpos.tolist() for s in ("left", "right")])
        mine = sorted([us.body(f"finger_{s}").xpos.tolist() for s in ("left", "right")])
        np.testing.assert_allclose(mine, reference, atol=1e-4)


def test_kinematics_table_equals_the_compiled_model_and_its_jacobian() -> None:
    model = scene.build(1, TIMESTEP, scene.Domain()).compile()
    data, jac = mujoco.MjData(model), np.zeros((2, 3, model.nv))
    q = np.random.default_rng(1).uniform(*panda.RANGE.T, (20, 7))
    position, rotation, jacobian = panda.tcp_pose(q)
    for i in range(20):
        data.qpos[:7] = q[i]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, jac[0], jac[1], model.site("tcp").id)
        np.testing.assert_allclose(position[i], data.site("tcp").xpos, atol=1e-12)
        np.testing.assert_allclose(rotation[i].ravel(), data.site("tcp").xmat, atol=1e-12)
        np.testing.assert_allclose(jacobian[i], jac[:, :, :7].reshape(6, 7), atol=1e-12)


def test_arm_weighs_what_a_panda_weighs() -> None:
    model = scene.build(1, TIMESTEP, scene.Domain()).compile()
    arm = sum(model.body(f"link{i}").mass[0] for i in range(8))
    assert 17 < arm < 20


def test_joint_velocity_and_torque_limits_hold_under_harsh_actions() -> None:
    world, rng = BlocksWorld(3, 16, threads=1), np.random.default_rng(2)
    world.reset(range(16))
    actions = random_actions(rng, 16)
    before = world.snapshot()
    for step in range(120):
        if step % 5 == 0:
            actions = random_actions(rng, 16)
        world.step(actions)
        controls, after = world.batch.ctrl.copy(), world.snapshot()
        # the same step again, this time with a look at every physics step of it
        world.restore(before)
        world.batch.ctrl[:] = controls
        seen = world.batch.rollout(world.substeps, record=("qpos", "qvel", "qfrc_actuator"))
        assert np.array_equal(world.batch.state, after[:, : world.batch.nstate])
        q, velocity, torque = seen["qpos"][..., :7], seen["qvel"][..., :7], seen["qfrc_actuator"]
        assert (q > panda.RANGE[:, 0] - 0.005).all() and (q < panda.RANGE[:, 1] + 0.005).all()
        assert (np.abs(velocity) < 1.01 * panda.VELOCITY).all()
        assert (np.abs(torque[..., :7]) <= panda.TORQUE + 1e-9).all()
        assert (np.abs(torque[..., 7:9]) <= panda.FINGER_FORCE + 1e-9).all()
        world.restore(after)
        before = after


def test_hand_stays_upright_and_in_the_workspace() -> None:
    world, rng = BlocksWorld(1, 32, threads=1), np.random.default_rng(3)
    world.reset(range(32))
    actions = random_actions(rng, 32)
    for step in range(150):
        if step % 5 == 0:
            actions = random_actions(rng, 32)
            actions[:, 2] = np.where(world.observe()["gripper"][:, 2] < 0.15, 1.0, actions[:, 2])  # away from the block
        gripper = world.step(actions)["gripper"]
        position, x, y = gripper[:, :3], gripper[:, 4], gripper[:, 5]
        tilt = np.arccos(np.clip(2 * (x * x + y * y) - 1, -1, 1))  # between the hand's z axis and straight down
        assert np.degrees(tilt).max() < 2
        assert (position > control.LOW[:3] - 0.012).all() and (position < control.HIGH[:3] + 0.012).all()


def test_full_action_moves_at_full_speed_and_stops() -> None:
    world = BlocksWorld(1, 1, threads=1)
    world.reset([0])
    position = control.solve(np.array([[0.45, -0.15, 0.2, 0.0]]))
    world.batch.qpos[:, :7] = world.batch.act[:] = position
    world.restore(world.snapshot())
    world._control[:, :4] = [0.45, -0.15, 0.2, 0.0]
    velocity = [world.step(np.array([[0, 1, 0, 0, -1.0]]))["gripper"][0, 10] for _ in range(10)]
    assert np.abs(np.array(velocity[3:]) - 0.4).max() < 0.03
    for _ in range(6):
        still = world.step(np.array([[0, 0, 0, 0, -1.0]]))
    assert np.abs(still["gripper"][0, 9:12]).max() < 2e-3


def test_stack_of_three_stands_for_ten_seconds() -> None:
    world = BlocksWorld(3, 8, threads=1)
    world.reset(range(8))
    blocks = world.batch.qpos[:, 9:].reshape(8, 3, 7)
    turned = np.random.default_rng(4).uniform(-np.pi, np.pi, (8, 3)) / 2
    blocks[..., :2] = [0.5, 0.2]
    blocks[..., :2] += np.random.default_rng(5).uniform(-0.008, 0.008, (8, 3, 2))
    blocks[..., 2] = 0.02 + 0.04 * np.arange(3)
    blocks[..., 3:] = 0
    blocks[..., 3], blocks[..., 6] = np.cos(turned), np.sin(turned)
    before = blocks.copy()
    for _ in range(200):
        world.step(np.zeros((8, 5)))
    assert np.abs(blocks - before)[..., :3].max() < 1e-3  # a twist of milliradians per second about z is the solver's


def test_shaken_grasp_holds() -> None:
    world, rng = BlocksWorld(1, 16, threads=1), np.random.default_rng(6)
    world.reset(range(16), "held")
    actions = np.ones((16, 5))
    for step in range(60):
        if step % 4 == 0:
            actions[:, :4] = rng.choice([-1.0, 1.0], (16, 4))
        observations = world.step(actions)
    gap = observations["red"][:, :3] - observations["gripper"][:, :3]
    assert (np.linalg.norm(gap, axis=1) < 0.025).mean() >= 0.9


@pytest.mark.parametrize("domain", [None, scene.Domain((0.03, 0.15), (0.6, 1.2), (0.035, 0.05))])
def test_same_bits_at_any_thread_count_and_next_to_anyone(domain: scene.Domain | None) -> None:
    actions = np.random.default_rng(7).uniform(-1, 1, (25, 6, 5))

    def run(threads: int, rows: list[int]) -> np.ndarray:
        world = BlocksWorld(3, len(rows), threads, domain)
        seen = [flat(world.reset([10 + r for r in rows], [scene.STARTS[r % 5] for r in rows]))]
        seen += [flat(world.step(a[rows])) for a in actions]
        return np.stack(seen)

    alone = run(1, list(range(6)))
    assert np.array_equal(run(2, list(range(6))), alone)
    assert np.array_equal(run(4, list(range(6))), alone)
    assert np.array_equal(run(1, [3, 1]), alone[:, [3, 1]])
    assert np.array_equal(run(1, [5]), alone[:, [5]])


def test_who_rests_changes_nothing_for_the_others() -> None:
    actions = np.random.default_rng(7).uniform(-1, 1, (20, 4, 5))

    def run(world: BlocksWorld, rests: list[bool]) -> tuple[np.ndarray, np.ndarray]:
        first = flat(world.reset([1, 2, 3, 4]))
        world.rest(np.array(rests))
        return first, np.stack([flat(world.step(a)) for a in actions])

    world = BlocksWorld(2, 4, 1)
    _, whole = run(world, [False] * 4)
    first, some = run(world, [False, True, False, True])
    assert np.array_equal(some[:, [0, 2]], whole[:, [0, 2]])
    where = world.spec.observation.by_name["arm"].size  # what the controller wants of who rests is of no account
    assert np.array_equal(some[-1, [1, 3], :where], first[[1, 3], :where])
    assert np.array_equal(run(world, [False] * 4)[1], whole)  # a reset wakes all


@pytest.mark.parametrize("domain", [None, scene.Domain((0.03, 0.15), (0.6, 1.2), (0.035, 0.05))])
def test_snapshot_in_mid_episode_continues_with_the_same_bits(domain: scene.Domain | None) -> None:
    rng = np.random.default_rng(8)
    actions = rng.uniform(-1, 1, (40, 5, 5))
    world, other = BlocksWorld(3, 5, 1, domain), BlocksWorld(3, 5, 2, domain)
    assert world.spec.fingerprint == other.spec.fingerprint
    world.reset(range(5), ["held", "stacked", "drifting", "beside", "scattered"])
    for a in actions[:15]:
        at = world.step(a)
    kept = world.snapshot()
    future = [flat(world.step(a)) for a in actions[15:]]
    assert np.array_equal(flat(world.restore(kept)), flat(at))
    assert np.array_equal(world.snapshot(), kept)
    assert np.array_equal(np.stack([flat(world.step(a)) for a in actions[15:]]), np.stack(future))
    other.reset(range(90, 95), "beside")
    assert np.array_equal(flat(other.restore(kept)), flat(at))
    assert np.array_equal(np.stack([flat(other.step(a)) for a in actions[15:]]), np.stack(future))


def test_a_drifting_block_slides_at_its_speed_until_it_is_touched_or_loaded() -> None:
    world = BlocksWorld(3, 12, threads=1)
    first = world.reset(range(12), "drifting")
    still = np.tile([0.0, 0, 0, 0, -1], (12, 1))
    for _ in range(20):
        last = world.step(still)
    moved = np.stack([last[c][:, :3] - first[c][:, :3] for c in world.spec.objects], 1)
    speed = np.stack([last[c][:, 8] for c in world.spec.objects], 1)
    which = np.abs(speed).argmax(1)
    rows = np.arange(12)
    assert ((np.abs(speed[rows, which]) > 0.0199) & (np.abs(speed[rows, which]) < 0.0501)).all()
    assert len(set(which)) == 3 and len(set(np.sign(speed[rows, which]))) == 2
    # 1 s of its velocity; what it bumps into is pushed
    assert np.abs(moved[rows, which, 1] / speed[rows, which] - 1).max() < 0.1
    assert np.abs(moved[rows, which][:, [0, 2]]).max() < 2e-3
    # a block that is set on it, one pad's touch, or lifting: it stays where it is
    drift = np.array([[0.03, 0, 0]] * 5)
    position = np.tile([[0.5, 0.0, 0.02], [0.5, 0.2, 0.02], [0.6, 0.1, 0.02]], (5, 1, 1)).astype(float)
    touch = np.tile([0.0, 0, 1], (5, 3, 1))
    position[1, 1] = [0.51, 0.01, 0.06]  # stands on it
    touch[2, 0, 0] = 1  # a pad
    touch[3, 0, 2] = 0  # in the air
    position[4, 0, 1] = scene.DRIFT_END_M
    assert scene.sliding(drift, position, touch, np.full((5, 3), 0.04))[:, 0].tolist() == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_other_starts_have_no_drift_and_its_snapshots_have_the_layout_of_all() -> None:
    world = BlocksWorld(2, 5, threads=1)
    world.reset(range(5), list(scene.STARTS))
    slides = world.batch.bind("qfrc_applied").any(1)
    assert slides.tolist() == [start == "drifting" for start in scene.STARTS]
    assert world.spec.starts == scene.STARTS and BlocksWorld(1, 1).spec.starts == ("scattered", "held", "drifting")
