"""PAC's mathematics: each loss by hand, what one update does with them, and a chain whose values are known."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toy_world import GROUPS, SMALL, SPEC

from ludus.agents.batches import TensorBatch
from ludus.agents.pac import losses
from ludus.agents.pac.agent import PAC
from ludus.agents.pac.networks import ActorCritic
from ludus.agents.trainer import Trainer
from ludus.config import TrainingConfig
from ludus.types import Batch
from ludus.worlds.blocks.encoder import CubeEncoder

LINE = dataclasses.replace(SPEC, actions=("x",))
ALONE = TrainingConfig(microbatches=1, processes=1)
pytestmark = pytest.mark.usefixtures("one_thread")


def places(at):
    """The hand at each of these places on a line, 10 cm apart, place 1 being the blocks'."""
    seen = {g.name: np.zeros((len(at), g.size), np.float32) for g in GROUPS}
    seen["hand"][:, 0] = 0.1 * np.asarray(at) - 0.1
    return seen


# --- a chain -----------------------------------------------------------------------------------------------------


GAMMA, REWARD = 0.8, 0.8
ONWARD = np.array([1, -1, 1])
"""The sign of an action that leads on from each of three places; any other leads back. Leading on from the last is to
stay there, and pays."""


class Chain:
    """Seven of ten first actions lead back. The n - 1 steps after it lead on, so that optimal values are those that
    n-step returns of all lengths agree on."""

    captions = ("go to red",)

    def __init__(self, rows=64):
        self.rows, self.draw = rows, np.random.default_rng(0)

    def next(self):
        draw, n = self.draw, self.rows
        begun, steps, leads_on = draw.integers(0, 3, n), draw.integers(1, 4, n), draw.random(n) < 0.3
        actions = np.where(leads_on, 1, -1) * ONWARD[begun] * draw.choice([1 / 3, 1], n)
        at, returns = begun, np.zeros(n)
        for k in range(3):
            onward, going = leads_on | (k > 0), k < steps
            returns += REWARD * GAMMA**k * (going & onward & (at == 2))
            at = np.where(going, np.clip(at + np.where(onward, 1, -1), 0, 2), at)
        taken, paid, left = (x.astype(np.float32) for x in (actions[:, None], returns, GAMMA**steps))
        return Batch(places(begun), taken, places(at), paid, left, np.zeros(n, np.int64), np.ones(n, bool))


STEPS = dataclasses.replace(
    SMALL, action_bins=4, gamma=GAMMA, alpha=0.0, eta=1.0, learning_rate=0.01, target_ema=0.3, acting_ema=0.05
)


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "float32"),
        pytest.param("cuda", "float32", marks=pytest.mark.gpu),
        pytest.param("cuda", "bfloat16", marks=pytest.mark.gpu),
    ],
)
def test_a_chains_optimal_policy_and_values_are_learnt(device, precision):
    training = dataclasses.replace(ALONE, device=device, precision=precision)
    learner, source = Trainer(STEPS, LINE, 300, 0, training), Chain()
    learner.fit(source, 300)
    policy, seen = learner.policy(), places([0, 1, 2])
    assert (np.sign(policy.act(seen, source.captions * 3)[:, 0]) == ONWARD).all()
    # In units of 1 / (1 - gamma), for ever at the last place is worth its reward, and a step before it gamma of that.
    optimal = REWARD * GAMMA ** np.array([2, 1, 0])
    np.testing.assert_allclose(policy.values(seen, source.captions)[:, 0], optimal, atol=0.03)


# --- one batch's loss --------------------------------------------------------------------------------------------


class Table(ActorCritic):
    """Probabilities for two places, of which a batch shows the first or both.

    Args:
        policy: `[2, bins]`.
        value: `[2, bins, atoms]`.
    """

    def __init__(self, policy, value):
        super().__init__()
        self.logits, self.values = (nn.Parameter(torch.tensor(p).log()) for p in (policy, value))
        self.action_bins = self.logits.shape[-1]

    def encode(self, task, objects, token_ids):
        x = task[:, 0]
        return (x > x.min()).long(), task

    def policy(self, z, condition):
        return self.logits[z][:, None]

    def value(self, z, condition, actions):
        return self.values[z[:, None], losses.to_bins(actions[..., 0], self.action_bins)]


LOW, MIDDLE, HIGH = torch.eye(3).tolist()
"""Values that are 0, 1/2 and 1 for sure; or sure actions."""
A, B, C = [0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]
"""In units of ln 2, their logarithms are -1 and -2."""
CLONED = {(0, 0): 0, (1, 0): 1, (0, 1): 2, (1, 1): 1.5}
"""The mean of -log A over those imitated of the actions 0 and 1."""


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 3), st.sampled_from(list(CLONED)))
def test_a_batchs_loss_by_hand(alpha, beta, mask):
    """Two rows begin at place 0, with actions 0 and 1, and end at place 1. By the target network, the policy's actions
    are 2 and then 1, with values 1/2 and then 1/2; the rows' own have values 1 and 0."""
    online = Table(policy=[A, B], value=[[B, C, A], [A, A, A]])
    target = Table(policy=[HIGH, MIDDLE], value=[[HIGH, LOW, MIDDLE], [LOW, MIDDLE, LOW]])
    # such that the better of two actions gets three times the weight
    eta = math.sqrt(2) / math.log(3)
    config = dataclasses.replace(
        SMALL, alpha=alpha, beta=beta, eta=eta, gamma=0.5, action_bins=3, value_atoms=3, action_samples=1
    )
    begun, ended = (CubeEncoder(LINE).pack(places(at)) for at in ([0, 0], [1, 1]))
    batch = TensorBatch(
        begun, ended, torch.zeros(2, 12, dtype=torch.int64), torch.tensor([[0, -1, -1]] * 2),
        actions=torch.tensor([[-1.0], [0.0]]), bc_mask=torch.tensor(mask).float(),
        returns=torch.tensor([0.5, 1.0]), discounts=torch.tensor([0.5, 0.25]),
    )  # fmt: skip
    agent = PAC(config, LINE, online, target)
    with torch.no_grad():
        prepared = agent.prepare(batch, torch.Generator().manual_seed(0))
    loss, _ = agent.loss(prepared)
    # targets (1 - gamma) return + discount / 2: .5 is atom 1; .625 is three quarters atom 1, a quarter atom 2
    critic = (1 + (0.75 * 2 + 0.25 * 1)) / 2
    # own action and the policy's: -log A is 1 and 2 in the first row, 2 and 2 in the second
    improvement = ((0.75 * 1 + 0.25 * 2) + 2) / 2
    expected = alpha * CLONED[mask] + beta * critic + (1 - alpha) * improvement
    assert loss.item() == pytest.approx(math.log(2) * expected, rel=1e-4, abs=1e-6)


# --- its terms ---------------------------------------------------------------------------------------------------


def test_bellman_target_splits_mass_between_neighbours():
    support = torch.linspace(0, 1, 5)
    certain = torch.zeros(2, 5)
    certain[:, 4] = 1  # value 1 for sure
    target = losses.bellman_target(certain, torch.tensor([0.1, 0.5]), torch.tensor([0.5, 0.9]), support)
    assert torch.allclose(target[0], torch.tensor([0, 0, 0.6, 0.4, 0.0]), atol=1e-6)  # 0.1 + 0.5 = 0.6
    assert torch.allclose(target[1], torch.tensor([0, 0, 0, 0, 1.0]), atol=1e-6)  # 1.4 is cut at 1


@given(st.integers(0, 10_000))
def test_bellman_target_keeps_mass_and_mean(seed):
    draw = torch.Generator().manual_seed(seed)
    support = torch.linspace(0, 1, 11)
    p = torch.rand(4, 11, generator=draw).softmax(-1)
    returns, discounts = torch.rand(4, generator=draw) * 0.3, torch.rand(4, generator=draw) * 0.7
    target = losses.bellman_target(p, returns, discounts, support)
    assert torch.allclose(target.sum(-1), torch.ones(4), atol=1e-5)
    assert torch.allclose(target @ support, returns + discounts * (p @ support), atol=1e-5)


def test_sampled_bins_follow_the_logits():
    logits = torch.tensor([[[0.0, 1.0, 2.0]]])
    drawn = losses.sample_bins(logits, 20_000, torch.Generator().manual_seed(0)).flatten()
    share = torch.bincount(drawn, minlength=3) / 20_000
    assert torch.allclose(share, logits.softmax(-1)[0, 0], atol=0.02)


def test_improvement_weighs_by_value_in_units_of_the_batchs_mean_spread():
    q = torch.tensor([[0.1, 0.5], [0.3, 0.3]])
    spread = 0.4 / math.sqrt(2) / 2  # of the first row, and none of the second
    weights, kl, found = losses.improvement_weights(q, 0.4 / (spread * math.log(3)))
    assert torch.allclose(weights, torch.tensor([[0.25, 0.75], [0.5, 0.5]]), atol=1e-5)
    assert found.item() == pytest.approx(spread, rel=1e-5)
    assert kl.item() == pytest.approx((0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2, rel=1e-4)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-1, 1), st.floats(0.1, 10))
def test_improvement_knows_neither_scale_nor_origin_of_values(seed, scale, origin, eta):
    q = torch.rand(4, 8, generator=torch.Generator().manual_seed(seed))
    weights, _, _ = losses.improvement_weights(q, eta)
    moved, _, _ = losses.improvement_weights(scale * q + origin, eta)
    assert torch.allclose(weights, moved, atol=1e-3)
    assert torch.allclose(weights.sum(-1), torch.ones(4), atol=1e-5)


# --- one update --------------------------------------------------------------------------------------------------


CLONING = dataclasses.replace(STEPS, alpha=1.0, beta=0.0, weight_decay=0.0)
"""Without anything drawn at random."""


def row(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def gradient(config, training=ALONE):
    """The first one that the optimiser is given: a tenth of it is its first mean."""
    learner = Trainer(config, LINE, 100, 0, training)
    learner.fit(Chain(), 1)
    return 10 * learner._optimiser.state_dict()["state"][0]["exp_avg"]


@pytest.mark.parametrize(
    ("updates", "share"), [(0, 0.01), (49, 0.5), (99, 1.0), (50_000, 0.55), (100_000, 0.1), (300_000, 0.1)]
)
def test_the_learning_rate_warms_up_and_falls_to_a_tenth(updates, share):
    """AdamW's first step has the length of its learning rate, in every direction with a gradient."""
    learner = Trainer(CLONING, LINE, 100_000, 0, ALONE)
    learner.updates = updates
    before = row(learner.backend.online)
    learner.fit(Chain(), 1)
    assert float((row(learner.backend.online) - before).abs().max()) == pytest.approx(0.01 * share, rel=0.01)


def test_target_and_acting_weights_follow_the_online_ones():
    learner = Trainer(dataclasses.replace(CLONING, acting_ema=0.6), LINE, 100, 0, ALONE)
    target = acting = row(learner.backend.online)
    for rate in (9 / 11, 9 / 12, 9 / 13, 9 / 14, 0.6, 0.6, 0.6):  # never below acting_ema
        learner.fit(Chain(), 1)
        online = row(learner.backend.online)
        target, acting = target + 0.3 * (online - target), acting + rate * (online - acting)
        assert torch.allclose(row(learner.backend.target), target, rtol=0, atol=1e-6)
        assert torch.allclose(row(learner.backend.acting), acting, rtol=0, atol=1e-6)


def test_long_gradients_are_cut_to_length_and_short_ones_left_alone():
    free = gradient(dataclasses.replace(CLONING, grad_clip=1e6))
    length = free.norm()
    for limit in (1e-2, 2 * float(length)):
        cut = gradient(dataclasses.replace(CLONING, grad_clip=limit))
        assert torch.allclose(cut, free * min(1.0, limit / length), rtol=1e-3, atol=1e-8)


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
    config = dataclasses.replace(CLONING, grad_clip=1e6)
    whole, parts = gradient(config), gradient(config, dataclasses.replace(ALONE, microbatches=4))
    assert (whole - parts).norm() < 1e-4 * whole.norm()
