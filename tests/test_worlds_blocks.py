"""The blocks world as a world: its starts, its observations, its options, and its answers to bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.types import LudusError
from ludus.worlds.blocks import control, panda, scene
from ludus.worlds.blocks.world import BlocksWorld

DOMAIN = scene.Domain(mass_kg=(0.03, 0.15), friction=(0.6, 1.2), size_m=(0.035, 0.05))
STILL = np.array([0.0, 0.0, 0.0, 0.0, -1.0])


def flat(observations: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate(list(observations.values()), axis=1)


def blocks_of(world: BlocksWorld, observations: dict[str, np.ndarray], name: str) -> np.ndarray:
    """`[E, N, size]` of one field."""
    return np.stack([world.spec.observation.get(observations, c, name) for c in world.spec.objects], axis=1)


@pytest.mark.parametrize("n_blocks", range(1, 9))
def test_every_number_of_blocks_and_every_start_gives_what_the_spec_declares(n_blocks: int) -> None:
    world = BlocksWorld(n_blocks, 4, threads=1)
    assert world.spec.objects == tuple(scene.COLOURS)[:n_blocks]
    for start in world.spec.starts:
        first = world.reset(range(4), start)
        for observations in (first, world.step(np.tile(STILL, (4, 1))), world.observe()):
            assert list(observations) == [g.name for g in world.spec.observation.groups]
            for group in world.spec.observation.groups:
                assert observations[group.name].shape == (4, group.size)
                assert observations[group.name].dtype == np.float32
                assert np.isfinite(observations[group.name]).all()
    assert world.library().captions


@pytest.mark.parametrize("domain", [scene.Domain(), DOMAIN])
def test_each_start_does_what_it_says(domain: scene.Domain) -> None:
    world, n = BlocksWorld(3, 24, threads=1, domain=domain), 24
    get = world.spec.observation.get
    for start in scene.STARTS:
        o = world.reset(range(100, 100 + n), start)
        position, size = blocks_of(world, o, "position"), blocks_of(world, o, "size")[..., 0]
        pads = blocks_of(world, o, "touch_left") * blocks_of(world, o, "touch_right")
        height = position[..., 2] - size / 2
        rests = np.abs(height) < 1e-3
        assert np.abs(blocks_of(world, o, "velocity")).max() < 0.02, start
        assert np.abs(get(o, "gripper", "velocity")).max() < 0.02, start
        if start == "held":
            assert (pads[..., 0].sum(1) == 1).all() and (rests.sum(1) == 2).all()
            which = pads[..., 0].argmax(1)
            assert len(set(which)) == 3  # any block
            assert (height[range(n), which] > 0.05).all()
            assert (get(o, "gripper", "command") == 1).all()
            held = position[range(n), which] - get(o, "gripper", "position")
            assert np.linalg.norm(held, axis=1).max() < 0.01
            assert np.abs(get(o, "gripper", "width")[:, 0] - size[range(n), which]).max() < 0.004
        else:
            assert pads.sum() == 0 and (get(o, "gripper", "command") == -1).all()
            assert np.abs(get(o, "gripper", "width") - 2 * panda.STROKE).max() < 1e-4
        apart = np.linalg.norm(position[:, :, None, :2] - position[:, None, :, :2], axis=-1)
        apart = apart + 9 * np.eye(3)
        near = np.sort(apart.reshape(n, -1), axis=1)
        if start == "scattered":
            assert rests.all() and near.min() > 0.0745
        if start == "stacked":
            assert (rests.sum(1) == 2).all() and (near[:, 0] < 0.01).all() and (near[:, 2] > 0.06).all()
            top = height.argmax(1)
            base = apart[range(n), top].argmin(1)
            assert np.abs(height[range(n), top] - size[range(n), base]).max() < 1e-3
            assert len({*zip(top, base, strict=True)}) > 3  # any ordered pair
        if start == "beside":
            assert rests.all() and (near[:, 2] > 0.06).all()
            pair = apart.reshape(n, -1).argmin(1)
            gap = near[:, 0] - (size[range(n), pair // 3] + size[range(n), pair % 3]) / 2
            assert (gap > 0).all() and (gap < 0.006).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), start=st.sampled_from(scene.STARTS), n_blocks=st.integers(2, 8))
def test_any_seed_places_blocks_in_reach_and_apart(seed: int, start: str, n_blocks: int) -> None:
    placed = scene.place(seed, start, n_blocks, scene.Domain())
    again = scene.place(seed, start, n_blocks, scene.Domain())
    assert np.array_equal(placed.blocks, again.blocks) and np.array_equal(placed.q, again.q)
    xy, z = placed.blocks[:, :2], placed.blocks[:, 2]
    assert (xy >= [scene.X_RANGE[0], scene.Y_RANGE[0]]).all() and (xy <= [scene.X_RANGE[1], scene.Y_RANGE[1]]).all()
    apart = np.linalg.norm(placed.blocks[:, None, :3] - placed.blocks[None, :, :3], axis=-1)[
        np.triu_indices(n_blocks, 1)
    ]
    assert apart.min() > 0.0399
    resting = np.abs(z - 0.02) < 1e-9
    assert resting.sum() == n_blocks - (start in ("held", "stacked"))
    close = (
        np.linalg.norm(xy[resting][:, None] - xy[resting][None], axis=-1) < scene.SPACING - 1e-9
    ).sum() - resting.sum()
    assert close == (2 if start == "beside" else 0)
    np.testing.assert_allclose(np.linalg.norm(placed.blocks[:, 3:], axis=1), 1, atol=1e-12)


def test_different_seeds_give_different_scenes_and_starts_can_be_mixed() -> None:
    world = BlocksWorld(2, 4, threads=1)
    o = world.reset([1, 2, 1, 1], ["scattered", "scattered", "scattered", "held"])
    rows = flat(o)
    assert np.array_equal(rows[0], rows[2]) and not np.array_equal(rows[0], rows[1])
    assert o["gripper"][3, -1] == 1


def test_reset_of_some_leaves_the_others_alone() -> None:
    world = BlocksWorld(3, 4, threads=1)
    world.reset(range(4))
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 4, 5))
    for a in actions:
        before = flat(world.step(a))
    after = flat(world.reset([50, 51], "stacked", ids=[1, 3]))
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    fresh = BlocksWorld(3, 2, threads=1)
    assert np.array_equal(after[[1, 3]], flat(fresh.reset([50, 51], "stacked")))
    untouched = BlocksWorld(3, 4, threads=1)
    untouched.reset(range(4))
    for a in actions:
        untouched.step(a)
    assert np.array_equal(flat(world.step(actions[0]))[[0, 2]], flat(untouched.step(actions[0]))[[0, 2]])


def test_observations_are_fresh_arrays() -> None:
    world = BlocksWorld(1, 2, threads=1)
    first = world.reset(range(2))
    kept = flat(first)
    world.step(np.ones((2, 5)))
    assert np.array_equal(flat(first), kept)
    first["arm"][:] = 7
    assert not (world.observe()["arm"] == 7).any()


def test_derived_observations_agree_with_each_other() -> None:
    world = BlocksWorld(3, 8, threads=1)
    before = world.reset(range(8), "held")
    get, rng = world.spec.observation.get, np.random.default_rng(1)
    for _ in range(12):
        actions = np.c_[rng.uniform(-1, 1, (8, 4)), np.ones(8)]
        o = world.step(actions)
    q = get(o, "arm", "joint_position").astype(float)
    position, rotation, jacobian = panda.tcp_pose(q)
    np.testing.assert_allclose(get(o, "gripper", "position"), position, atol=1e-6)
    np.testing.assert_allclose(get(o, "gripper", "yaw")[:, 0], control.yaw_of(rotation), atol=1e-6)
    velocity = np.einsum("eij,ej->ei", jacobian[:, :3], get(o, "arm", "joint_velocity").astype(float))
    np.testing.assert_allclose(get(o, "gripper", "velocity"), velocity, atol=1e-5)
    np.testing.assert_allclose(get(o, "gripper", "width")[:, 0], get(o, "gripper", "finger_position").sum(1), atol=1e-6)
    np.testing.assert_allclose(get(o, "gripper", "command"), 1)
    # a held block turns and moves with the hand
    which = (blocks_of(world, before, "touch_left")[..., 0]).argmax(1)
    spin = blocks_of(world, o, "angular_velocity")[range(8), which]
    hand = np.einsum("eij,ej->ei", jacobian[:, 3:], get(o, "arm", "joint_velocity").astype(float))
    assert np.abs(spin - hand)[:, 2].mean() < 0.35


def test_gripper_closes_opens_and_reports() -> None:
    world = BlocksWorld(1, 2, threads=1)
    world.reset(range(2))
    width = world.spec.observation.by_name["gripper"].slices["width"]
    close = np.tile([0, 0, 0, 0, 1.0], (2, 1))
    for _ in range(14):
        o = world.step(close)
    assert (o["gripper"][:, width] < 0.001).all()
    for _ in range(14):
        o = world.step(-close)
    assert (o["gripper"][:, width] > 0.079).all()


def test_domain_parameters_shape_the_physics() -> None:
    domain = scene.Domain(mass_kg=(0.02, 0.2), friction=(0.3, 1.5), size_m=(0.03, 0.055))
    world = BlocksWorld(3, 6, threads=1, domain=domain)
    o = world.reset(range(6))
    size = blocks_of(world, o, "size")[..., 0]
    assert np.ptp(size) > 0.005 and size.min() >= 0.03 and size.max() <= 0.055
    assert np.abs(blocks_of(world, o, "position")[..., 2] - size / 2).max() < 1e-3
    for i in range(6):
        model = world.batch.get_model(i)
        for k, colour in enumerate(world.spec.objects):
            mass, friction, edge = world._parameters[i, k]
            assert model.body(colour).mass[0] == mass and model.geom(colour).friction[0] == friction
            assert (model.geom(colour).size == edge / 2).all()
            np.testing.assert_allclose(model.body(colour).inertia, mass * edge**2 / 6)
    assert not BlocksWorld(3, 1, 1).batch.expanded("body_mass") is not None  # nominal worlds pay nothing for it


def test_fingerprint_names_what_shapes_the_data_and_nothing_else() -> None:
    base = BlocksWorld(3, 1, 1).spec.fingerprint
    assert BlocksWorld(3, 2, 2).spec.fingerprint == base
    others = [
        BlocksWorld(2, 1, 1),
        BlocksWorld(3, 1, 1, domain=DOMAIN),
        BlocksWorld(3, 1, 1, domain=scene.Domain(mass_kg=(0.06, 0.068))),  # the same middle, another range
        BlocksWorld(3, 1, 1, timestep=0.005),
    ]
    assert len({base, *(w.spec.fingerprint for w in others)}) == 5


def test_bad_input_is_one_clear_sentence() -> None:
    for n in (0, 9, -1):
        with pytest.raises(LudusError, match=f"n_blocks = {n} must be 1 to 8"):
            BlocksWorld(n, 1)
    with pytest.raises(LudusError, match="n_envs"):
        BlocksWorld(3, 0)
    with pytest.raises(LudusError, match="threads"):
        BlocksWorld(3, 1, -1)
    with pytest.raises(LudusError, match="timestep"):
        BlocksWorld(3, 1, timestep=0.004321)
    with pytest.raises(LudusError, match="mass_kg"):
        BlocksWorld(3, 1, domain=scene.Domain(mass_kg=(0.2, 0.1)))
    world = BlocksWorld(1, 2, threads=1)
    with pytest.raises(LudusError, match="reset"):
        world.step(np.zeros((2, 5)))
    with pytest.raises(LudusError, match="stacked"):
        world.reset(range(2), "stacked")
    with pytest.raises(LudusError, match="nearest: 'scattered'"):
        world.reset(range(2), "scatered")
    with pytest.raises(LudusError, match="3 seeds"):
        world.reset(range(3))
    before = flat(world.reset(range(2)))
    for shape in ((5,), (1, 5), (2, 4), (2, 5, 1)):
        with pytest.raises(LudusError, match="shape"):
            world.step(np.zeros(shape))
    broken = np.zeros((2, 5))
    broken[1, 2] = np.nan
    with pytest.raises(LudusError, match=r"simulations \[1\]"):
        world.step(broken)
    with pytest.raises(LudusError, match="snapshot"):
        world.restore(np.zeros((2, 3)))
    with pytest.raises(LudusError, match="camera"):
        world.frames(world.observe(), camera="frnt")
    for ids in ([1, 0], [0, 0], [0, 2], [-1, 0]):
        with pytest.raises(LudusError, match="ids"):
            world.reset([1, 2], ids=ids)
    assert np.array_equal(flat(world.observe()), before)  # nothing of that touched the simulation


def test_unstable_physics_is_an_error_not_a_silent_reset(capfd: pytest.CaptureFixture[str]) -> None:
    world = BlocksWorld(1, 3, threads=1)
    world.reset(range(3))
    world.batch.qvel[1, -1] = 1e13
    with pytest.raises(LudusError, match=r"simulations \[1\] became unstable"):
        world.step(np.zeros((3, 5)))
    world.reset(range(3))
    world.step(np.zeros((3, 5)))
    capfd.readouterr()  # MuJoCo's own remark


@pytest.mark.render
def test_frames_show_logged_observations() -> None:
    world = BlocksWorld(3, 3, threads=1, domain=DOMAIN)
    seen = [world.reset(range(3)), world.reset(range(3), "held")]
    both = {g: np.concatenate([o[g] for o in seen]) for g in seen[0]}
    pictures = {camera: world.frames(both, camera, size=128) for camera in world.spec.cameras}
    for frames in pictures.values():
        assert frames.shape == (6, 128, 128, 3) and frames.dtype == np.uint8
        assert len({f.tobytes() for f in frames}) == 6
        for colour in range(3):  # red, green, blue blocks are the only strongly coloured things
            others = np.delete(frames.astype(int), colour, axis=-1).max(-1)
            assert ((frames[..., colour] - others > 40).sum((1, 2)) > 15).all()
    assert np.array_equal(world.frames(seen[0], size=128), pictures[world.spec.cameras[0]][:3])
    world.close()


def test_actions_beyond_full_scale_are_clipped() -> None:
    one, two = BlocksWorld(1, 1, threads=1), BlocksWorld(1, 1, threads=1)
    one.reset([0])
    two.reset([0])
    assert np.array_equal(flat(one.step(np.full((1, 5), 9.0))), flat(two.step(np.ones((1, 5)))))
