"""The losses of Perceiver-Actor-Critic (PAC, arXiv 2402.05546). The paper states them as one loss:

    L = (1 - alpha) KL[pi_imp || pi] + alpha KL[b || pi] + beta KL[Gamma || p]

Each KL is minimised here as a cross-entropy, which differs from it by a term without gradient:

| here | paper | |
|---|---|---|
| `behaviour_cloning` | KL[b || pi] | -log pi(a), a from the data |
| `improvement_weights`, `improvement` | KL[pi_imp || pi] | -sum_a' w(a') log pi(a'), w = softmax(Q / eta') over tried a' |
| `bellman_target`, `critic` | KL[Gamma || p] | cross-entropy of p, the distribution of Q, against Gamma |

eta' = eta x spread of Q (`improvement_weights`). The tried actions a' are K candidates per row: candidate 0 is the data's own
action, the others are sampled from the target policy (`PAC.prepare` in agent.py).

The backend calls `Agent.prepare` under `torch.no_grad` (`backends/base.py`), so the weights w and the target Gamma carry no
gradient. The paper computes w with the online network's Q, here it is the target network's: then half of the work of an update
can run beside the gradient (docs/decisions.md, 8).

Each loss is a scalar. `two_hot` is used by `iql.py`. Sampling and projection avoid dense kernels (docs/method.md, section 5).
B: rows of a batch; K: actions per row; A: action dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bin_centres(bins: int) -> Tensor:
    return torch.linspace(-1, 1, bins)


def to_bins(actions: Tensor, bins: int) -> Tensor:
    """Nearest bin of actions in [-1, 1], any shape, int64."""
    return ((actions.clamp(-1, 1) + 1) * ((bins - 1) / 2)).round().long()


def sample_bins(logits: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n independent draws per action dimension: `[B, A, bins]` -> `[B, n, A]` int64, by the inverse CDF."""
    cdf = logits.softmax(-1).cumsum(-1)
    uniform = torch.rand((*logits.shape[:-1], n), generator=generator, device=logits.device) * cdf[..., -1:]
    return torch.searchsorted(cdf, uniform, right=True).clamp(max=logits.shape[-1] - 1).transpose(1, 2)


def log_prob(logits: Tensor, bins: Tensor) -> Tensor:
    """log pi of `[B, K, A]` bins under `[B, A, bins]` logits, summed over dimensions -> `[B, K]`."""
    return logits.log_softmax(-1).gather(-1, bins.transpose(1, 2)).sum(1)


def behaviour_cloning(log_probs: Tensor, mask: Tensor) -> Tensor:
    """-log pi(a) `[B]` of the data's actions, averaged over the rows where the mask `[B]` is 1: by default those whose action was
    meant for their caption (docs/method.md, section 5)."""
    return -(log_probs * mask).sum() / mask.sum().clamp(min=1)


def improvement_weights(q: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights w(a') = softmax_a'(Q / eta') of `[B, K]` values, K actions of each row (PAC's policy improvement); their KL
    from uniform (nats); and the spread, the mean standard deviation of Q over a row's actions.

    eta' = eta x spread: the temperature then does not depend on the scale of the rewards. The caller computes this under
    `torch.no_grad`.
    """
    spread = q.std(-1).mean()
    weights = (q / (eta * spread.clamp(min=1e-5))).softmax(-1)
    kl = (weights * (weights * weights.shape[-1]).clamp(min=1e-9).log()).sum(-1).mean()
    return weights, kl, spread


def improvement(weights: Tensor, log_probs: Tensor) -> Tensor:
    """-sum_k w_k log pi(a_k), averaged over rows; both `[B, K]`."""
    return -(weights * log_probs).sum(-1).mean()


def bellman_target(probabilities: Tensor, returns: Tensor, discounts: Tensor, support: Tensor) -> Tensor:
    """Distribution of returns + discount x value, projected on the atoms by splitting mass between neighbours (C51,
    Bellemare et al. 2017, arXiv 1707.06887).

    Args:
        probabilities: `[B, atoms]` of the value at the end of the n steps.
        returns, discounts: `[B]`, in the units of the support.
    """
    low, high = support[0], support[-1]
    place = (returns[:, None] + discounts[:, None] * support).clamp(low, high)
    place = (place - low) / (high - low) * (len(support) - 1)
    lower = place.nan_to_num().floor().long().clamp(max=len(support) - 2)  # a NaN stays one in `share`
    share = place - lower
    target = torch.zeros_like(probabilities)
    target.scatter_add_(1, lower, probabilities * (1 - share))
    target.scatter_add_(1, lower + 1, probabilities * share)
    return target


def two_hot(values: Tensor, support: Tensor) -> Tensor:
    """Distributions `[B, atoms]` whose mean is `values` `[B]`, on the two nearest atoms; for scalar targets, as in
    `iql.py`."""
    certain = torch.zeros(len(values), len(support), device=values.device)
    certain[:, 0] = 1
    return bellman_target(certain, values, torch.zeros_like(values), support)


def critic(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the value distribution `[B, atoms]` against its target."""
    return -(target * F.log_softmax(logits, -1)).sum(-1).mean()
