"""Networks: their sizes, what they must not depend on, and that they fit together."""

import dataclasses

import pytest
import torch

from ludus.config import PACConfig, as_dict, preset
from ludus.pac.networks import SIZES, actor_critic
from ludus.types import LudusError

N_TASK, N_OBJECT, N_ACTIONS = 128, 65, 5
MILLIONS = {"xs": 0.228, "s": 1.0, "base": 10, "m": 40, "140m": 140, "1b": 1000}


def count(**settings):
    with torch.device("meta"):
        network = actor_critic(PACConfig(**settings), N_TASK, N_OBJECT, N_ACTIONS)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_what_its_name_says(size):
    assert count(size=size) == pytest.approx(MILLIONS[size] * 1e6, rel=0.1)
    assert count(size=size, network="mlp") == pytest.approx(count(size=size), rel=0.02)


@pytest.mark.parametrize("network", ["perceiver", "mlp"])
def test_the_order_of_objects_does_not_matter(network):
    torch.manual_seed(0)
    net = actor_critic(PACConfig(network=network), N_TASK, N_OBJECT, N_ACTIONS).eval()
    task, objects, words = torch.randn(6, N_TASK), torch.randn(6, 5, N_OBJECT), torch.randint(0, 99, (6, 12))
    actions = torch.rand(6, 3, N_ACTIONS) * 2 - 1

    def outputs(objects):
        z, about = net.encode(task, objects, words)
        return net.policy(z, about), net.value(z, about, actions)

    policy, value = outputs(objects)
    assert policy.shape == (6, N_ACTIONS, 31) and value.shape == (6, 3, 51)
    for a, b in zip(outputs(objects[:, [3, 0, 4, 1, 2]]), (policy, value), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": "bse"}, "nearest: 'base'"),
        ({"network": "cnn"}, "cnn"),
        ({"width": 63}, "not a multiple of pac.heads=2"),
    ],
)
def test_what_does_not_exist_is_named(settings, words):
    with pytest.raises(LudusError, match=words):
        count(**settings)


def test_presets_compose():
    both, tiny = preset("tiny,bc"), preset("tiny")
    assert both.world == tiny.world and (both.pac.alpha, both.pac.beta) == (1, 0)
    assert as_dict(dataclasses.replace(both, pac=tiny.pac, sampling=tiny.sampling)) == as_dict(tiny)
    with pytest.raises(LudusError, match="unknown preset 'bd'"):
        preset("tiny,bd")
