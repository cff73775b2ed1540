"""Descriptions of worlds: fields of any shape and dtype, fingerprints that stay, a registry."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from counting_world import CountingWorld

from ludus.config import WorldConfig
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.vocabulary import Vocabulary, predicate
from ludus.types import Field, Group, LudusError, ObservationSpec
from ludus.worlds.blocks import scene
from ludus.worlds.blocks.world import BlocksWorld
from ludus.worlds.gym import LudusVectorEnv
from ludus.worlds.ogbench.world import CubesWorld
from ludus.worlds.registry import WORLDS, make_world, world_kind

IMAGE = Field("pixels", (8, 6, 3), "1", "what it shows", dtype="uint8", centre=127.5, scale=127.5)
POSITION = Field("position", (3,), "m", "where it is")


def test_float_fields_share_an_array_and_a_shape_may_be_an_int():
    group = Group("hand", "effector", (POSITION, Field("width", 1, "m", "between the pads")))
    assert group.fields[1].shape == (1,)
    assert (group.size, group.shape, group.dtype, group.is_flat) == (4, (4,), "float32", True)
    assert group.slices == {"position": slice(0, 3), "width": slice(3, 4)}


def test_an_image_is_alone_in_its_group():
    group = Group("camera", "effector", (IMAGE,))
    assert (group.size, group.shape, group.dtype, group.is_flat) == (144, (8, 6, 3), "uint8", False)
    spec = ObservationSpec((group, Group("hand", "effector", (POSITION,))))
    seen = {"camera": np.zeros((2, 5, 8, 6, 3), np.uint8), "hand": np.zeros((2, 5, 3), np.float32)}
    assert spec.get(seen, "camera", "pixels").shape == (2, 5, 8, 6, 3)
    assert spec.lead(seen) == (2, 5)


@pytest.mark.parametrize(
    "odd", [IMAGE, Field("count", (1,), "1", "how many", dtype="int64"), Field("grid", (4, 4), "1", "heights")]
)
def test_what_cannot_share_is_named(odd):
    with pytest.raises(LudusError, match=rf"field '{odd.name}' of group 'hand' .* give it a group of its own"):
        Group("hand", "effector", (POSITION, odd))


def test_malformed_fields_and_groups_are_named():
    with pytest.raises(LudusError, match=r"field 'x' has dtype 'flot32'; give one of float32, "):
        Field("x", (1,), "m", "", dtype="flot32")
    with pytest.raises(LudusError, match=r"field 'x' has shape \(3, 0\)"):
        Field("x", (3, 0), "m", "")
    for fields in ((), (POSITION, POSITION)):
        with pytest.raises(LudusError, match="group 'hand' has fields"):
            Group("hand", "effector", fields)


def test_skills_are_scored_where_there_are_images():
    @predicate("bool")
    def bright(spec, o):
        """The picture is bright."""
        return spec.get(o, "camera", "pixels").mean((-1, -2, -3)) > 100

    spec = ObservationSpec((Group("camera", "effector", (IMAGE,)), Group("hand", "effector", (POSITION,))))
    library = SkillLibrary(Vocabulary(spec, (), (bright,)), [Skill("switch on the light", "bright()", "bright()")])
    seen = {"camera": np.full((2, 3, 8, 6, 3), 90, np.uint8), "hand": np.zeros((2, 3, 3), np.float32)}
    seen["camera"][1, 2] = 200
    assert library.score(seen)[1][0].tolist() == [[False] * 3, [False, False, True]]


@pytest.mark.parametrize(
    ("n_blocks", "fingerprint"), [(1, "55e0cc8bd639"), (2, "e0180f6221b3"), (3, "c750827cf684"), (8, "630701e46559")]
)
def test_fingerprints_of_blocks_are_those_of_stored_episodes(n_blocks, fingerprint):
    assert BlocksWorld(n_blocks, 1, threads=1).spec.fingerprint == fingerprint


def test_a_fingerprint_of_a_domain_stays_too():
    domain = scene.Domain(mass_kg=(0.03, 0.15), friction=(0.6, 1.2), size_m=(0.035, 0.05))
    assert BlocksWorld(3, 1, threads=1, domain=domain).spec.fingerprint == "8cc9b2957936"


@pytest.mark.parametrize(
    ("variant", "fingerprint"), [("single", "e12951fb4f47"), ("double", "ea34764227f4"), ("triple", "fcecd207519e")]
)
def test_fingerprints_of_cubes_are_those_of_stored_episodes(variant, fingerprint):
    world = CubesWorld(variant, 1, 1)
    assert world.spec.fingerprint == fingerprint
    world.close()


def test_worlds_are_made_by_name():
    world = make_world(WorldConfig(n_blocks=2, n_envs=3, threads=1))
    assert world.n_envs == 3 and world.spec.objects == ("red", "green")
    world.close()
    assert dataclasses.is_dataclass(world_kind(WorldConfig()))
    with pytest.raises(LudusError, match=r"unknown world 'block'; nearest: 'blocks'"):
        make_world(WorldConfig(name="block"))
    assert set(WORLDS) >= {"blocks", "ogbench"}


def test_who_only_steps_a_world_imports_no_torch():
    code = (
        "import sys, ludus.worlds.blocks.world, ludus.worlds.ogbench.world, ludus.worlds.registry\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_gymnasium_face_names_what_it_cannot_show():
    world = CountingWorld(1)
    camera = Group("camera", "effector", (IMAGE,))
    world.spec = dataclasses.replace(world.spec, observation=ObservationSpec((*world.spec.observation.groups, camera)))
    with pytest.raises(LudusError, match="'camera' is uint8"):
        LudusVectorEnv(world, "go to home")


@pytest.mark.parametrize("world", ["blocks", "ogbench"])
def test_without_its_simulator_a_world_says_what_to_install(world):
    code = f"import sys; sys.modules['mujoco'] = None; sys.argv = ['ludus', 'check', '{world}']\n"
    code += "from ludus.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and f"pip install 'ludus[{world}]'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
