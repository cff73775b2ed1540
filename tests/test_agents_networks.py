"""Networks: their sizes, what they must not depend on, and that they fit together."""

import dataclasses
import re

import pytest
import torch

from ludus.agents.pac.networks import Attention, actor_critic
from ludus.config import NETWORKS, SIZES, AgentConfig, Config, as_dict, override, preset
from ludus.types import LudusError

N_TASK, N_OBJECT, N_ACTIONS = 128, 65, 5
MILLIONS = {"xs": 0.228, "s": 1.0, "base": 10, "m": 40, "l": 77, "140m": 140, "1b": 1000}


def count(**settings):
    with torch.device("meta"):
        network = actor_critic(AgentConfig(**settings), N_TASK, N_OBJECT, N_ACTIONS)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_what_its_name_says(size):
    assert count(size=size) == pytest.approx(MILLIONS[size] * 1e6, rel=0.1)
    assert count(size=size, network="mlp") == pytest.approx(count(size=size), rel=0.02)


def test_the_smallest_is_what_it_always_was():
    """Seeded runs and checkpoints count on the order of the draws, and on nothing being scaled."""
    torch.manual_seed(0)
    network = actor_critic(AgentConfig(), N_TASK, N_OBJECT, N_ACTIONS)
    assert sum(p.numel() for p in network.parameters()) == 228_178
    for weight, expected in (
        (network.latents, 103.6244),
        (network.blocks[0].out.weight, 258.2071),
        (network.value_out[1].weight, 203.2118),  # the last that is drawn
    ):
        assert float(weight.detach().abs().sum()) == pytest.approx(expected, abs=1e-3)


def test_a_deep_stack_starts_as_tame_as_a_shallow_one():
    spread = []
    for blocks in (1, 24):
        torch.manual_seed(0)
        net = actor_critic(AgentConfig(blocks=blocks), N_TASK, N_OBJECT, N_ACTIONS)
        z, _ = net.encode(torch.randn(64, N_TASK), torch.randn(64, 3, N_OBJECT), torch.randint(1, 99, (64, 12)))
        spread.append(float(z.detach().std()))
    assert spread[1] < 1.5 * spread[0]


@pytest.mark.parametrize("batch", [1, 6, 7, 64])
@pytest.mark.parametrize("n_kv", [1, 3, 5, 8, 12, 30])
def test_attention_is_the_same_in_training_where_scenes_share_a_call(n_kv, batch):
    torch.manual_seed(0)
    attend = Attention(16, 4)
    queries, tokens = torch.randn(batch, 4, 16), torch.randn(batch, n_kv, 16)
    trained = attend(queries, tokens)
    trained.sum().backward()
    assert torch.allclose(trained, attend.eval()(queries, tokens), atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_order_of_objects_does_not_matter(network):
    torch.manual_seed(0)
    net = actor_critic(AgentConfig(network=network), N_TASK, N_OBJECT, N_ACTIONS).eval()
    task, objects, words = torch.randn(6, N_TASK), torch.randn(6, 5, N_OBJECT), torch.randint(0, 99, (6, 12))
    actions = torch.rand(6, 3, N_ACTIONS) * 2 - 1

    def outputs(objects):
        z, condition = net.encode(task, objects, words)
        return net.policy(z, condition), net.value(z, condition, actions)

    policy, value = outputs(objects)
    assert policy.shape == (6, N_ACTIONS, 31) and value.shape == (6, 3, 51)
    for a, b in zip(outputs(objects[:, [3, 0, 4, 1, 2]]), (policy, value), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    for a, b in zip(outputs(objects[:, :2]), (policy, value), strict=True):
        assert a.shape == b.shape  # their number is free


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "bse"}, "unknown agent.size 'bse'; nearest: 'base'"),
        ({"network": "cnn"}, "unknown agent.network 'cnn'; known: 'perceiver', 'mlp'"),
        ({"width": 63}, "not a multiple of agent.heads=2"),
    ],
)
def test_what_does_not_exist_is_named(settings, words):
    with pytest.raises(LudusError, match=words):
        count(**settings)


@pytest.mark.parametrize(
    "assignment", ["agent.size=bas", "agent.network=mpl", "sampling.bc_labels=achievd", "sampling.memory=rm"]
)
def test_misspelt_names_are_found_when_the_configuration_is_made(assignment):
    with pytest.raises(LudusError, match=f"unknown {assignment.split('=')[0]}"):
        override(Config(), [assignment])


def test_fields_go_over_the_size():
    assert AgentConfig(size="base", width=128, heads=4).shape == (128, 16, 4, 4)


def test_presets_compose():
    both, tiny = preset("tiny,bc"), preset("tiny")
    assert both.world == tiny.world and (both.agent.alpha, both.agent.beta) == (1, 0)
    assert as_dict(dataclasses.replace(both, agent=tiny.agent, sampling=tiny.sampling)) == as_dict(tiny)
    assert preset("tiny,mlp,bc") == preset("bc,mlp,tiny")
    with pytest.raises(LudusError, match="unknown preset 'bd'"):
        preset("tiny,bd")


@pytest.mark.parametrize(
    ("name", "setting"),
    [("cpu,bc-filtered,bc", "agent.alpha"), ("bc,bc+q", "agent.alpha"), ("tiny,tiny", "world.n_blocks")],
)
def test_presets_that_would_mix_are_refused(name, setting):
    # 'bc-filtered,bc' would go on with successes only, 'bc,bc+q' without Q
    first, second = name.split(",")[-2:]
    with pytest.raises(LudusError, match=re.escape(f"presets {first!r} and {second!r} both change {setting}")):
        preset(name)
