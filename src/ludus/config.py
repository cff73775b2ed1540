"""The whole configuration: one frozen tree, no I/O. Every number that shapes a run stands here with its reason.

`preset("cpu")` gives a tree, `override(config, ["experiment.rounds=2"])` changes leaves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from ludus.types import LudusError, unknown


def _known(setting: str, value: str, known: tuple[str, ...]) -> None:
    """Complain of a misspelt name when the configuration is made, not when a run first uses it."""
    if value not in known:
        raise unknown(setting, value, known)


def _fitting(*checks: tuple[str, float, bool, str]) -> None:
    """Complain of the first (setting, value, whether it fits, what would) that does not fit."""
    for setting, value, fits, limit in checks:
        if not fits:
            raise LudusError(f"{setting}={value} makes no sense; give {limit}")


def _temperature(setting: str, value: float) -> tuple[str, float, bool, str]:
    return setting, value, 0 <= value < math.inf, "0 (greedy) or more"


@dataclass(frozen=True)
class WorldConfig:
    """Which world, how many of it."""

    name: str = "blocks"
    n_blocks: int = 3
    """1 to 8 coloured blocks (world blocks)."""
    variant: str = "single"
    """single, double, triple, quadruple or octuple cubes (world ogbench)."""
    n_envs: int = 128
    """Simulations stepped together."""
    threads: int = 0
    """Physics threads; 0 takes every core this process may use. The results do not depend on it."""


@dataclass(frozen=True)
class SeedDataConfig:
    """The teacher's mixed-quality episodes that training starts from (METHOD: 3,072 episodes of two skills)."""

    episodes: int = 3072
    segments: int = 2
    """Skills per episode, each `skill_steps` long."""
    min_noise: float = 0.0
    max_noise: float = 0.6
    """Noise level of an episode is uniform on [min_noise, max_noise] ..."""
    clean_share: float = 0.1
    """... except for this share without noise ..."""
    random_share: float = 0.08
    """... and this share of random actions."""

    def __post_init__(self) -> None:
        _fitting(
            ("seed_data.episodes", self.episodes, self.episodes >= 1, "at least 1"),
            ("seed_data.segments", self.segments, self.segments >= 1, "at least 1"),
        )


class Size(NamedTuple):
    """Of a Perceiver: the width of its tokens, and how many latents, self-attention blocks and heads."""

    width: int
    latents: int
    blocks: int
    heads: int


SIZES = {
    # parameters on world blocks
    "xs": Size(64, 4, 1, 2),  # 0.23 M
    "s": Size(128, 8, 3, 4),  # 1.0 M
    "base": Size(384, 16, 4, 6),  # 9.8 M
    "m": Size(640, 16, 8, 10),  # 40 M
    "l": Size(1024, 16, 5, 16),  # 77 M
    "140m": Size(1024, 32, 13, 16),  # 144 M, the paper's largest but one
    "1b": Size(2048, 32, 26, 16),  # 1,009 M
}
NETWORKS = ("perceiver", "mlp")
BC_LABELS = ("commanded", "hindsight")
MEMORIES = ("ram", "mapped")


@dataclass(frozen=True)
class AgentConfig:
    """Perceiver-Actor-Critic (arXiv 2402.05546). Where the defaults come from: docs/decisions.md and docs/log.md.

    Raises:
        LudusError: unknown size or network; a number outside of its range.
    """

    name: str = "pac"
    """The algorithm: 'pac', 'iql', ...; see `ludus.agents.AGENTS`."""
    options: dict[str, str] = field(default_factory=dict)
    """Settings of that algorithm only, such as agent.options.expectile=0.9."""
    network: str = "perceiver"
    """'perceiver', or 'mlp' of as many parameters."""
    size: str = "xs"
    """xs (0.2 M parameters), s (1 M), base (10 M), m (40 M), l (80 M), 140m (the paper's), 1b; see `SIZES`."""
    width: int = 0
    """This and the next three: 0 is what the size says."""
    latents: int = 0
    blocks: int = 0
    """Self-attention blocks on the latents."""
    heads: int = 0
    action_bins: int = 31
    """Values of each dimension of an action, from -1 to 1."""
    value_atoms: int = 51
    """Of the distribution of Q, from 0 to 1."""
    alpha: float = 0.3
    """Weight of behaviour cloning, a mean over the rows that are cloned (`sampling.bc_labels`), against policy improvement, a
    mean over all rows: the fewer are cloned, the more each weighs. 1 is BC."""
    beta: float = 1.0
    """Weight of the critic; 0 with alpha 1 is plain BC."""
    eta: float = 2.0
    """Temperature of the improvement, in units of the mean standard deviation of Q over sampled actions in a batch's part."""
    gamma: float = 0.96
    """Discount per control step."""
    n_step: int = 8
    """Rewards are summed over at most this many steps before the critic's own estimate."""
    action_samples: int = 8
    """Actions drawn from the target policy, among which, and the one that was taken, the improvement chooses."""
    batch_size: int = 512
    """Transitions per update."""
    learning_rate: float = 7e-4
    """Of AdamW, at the height of its cosine schedule."""
    weight_decay: float = 1e-4
    grad_clip: float = 1.0
    """Greatest norm of an update's gradient."""
    target_ema: float = 0.005
    """Step of the target network towards the online one, per update."""
    acting_ema: float = 0.001
    """Step of the averaged weights that act."""

    def __post_init__(self) -> None:
        _known("agent.size", self.size, tuple(SIZES))
        _known("agent.network", self.network, NETWORKS)
        _fitting(
            *(
                (f"agent.{x}", getattr(self, x), getattr(self, x) >= 0, "0 (as agent.size says) or more")
                for x in Size._fields
            ),
            ("agent.action_bins", self.action_bins, self.action_bins >= 2, "at least 2"),
            ("agent.value_atoms", self.value_atoms, self.value_atoms >= 2, "at least 2"),
            ("agent.alpha", self.alpha, 0 <= self.alpha <= 1, "0 to 1"),
            ("agent.beta", self.beta, 0 <= self.beta < math.inf, "0 or more"),
            ("agent.eta", self.eta, 0 < self.eta < math.inf, "more than 0"),
            ("agent.gamma", self.gamma, 0 <= self.gamma < 1, "at least 0 and less than 1"),
            ("agent.n_step", self.n_step, self.n_step >= 1, "at least 1"),
            ("agent.action_samples", self.action_samples, self.action_samples >= 1, "at least 1"),
            ("agent.batch_size", self.batch_size, self.batch_size >= 1, "at least 1"),
            ("agent.learning_rate", self.learning_rate, 0 < self.learning_rate < math.inf, "more than 0"),
            ("agent.weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "0 or more"),
            ("agent.grad_clip", self.grad_clip, self.grad_clip > 0, "more than 0"),
            ("agent.target_ema", self.target_ema, 0 < self.target_ema <= 1, "more than 0, at most 1"),
            ("agent.acting_ema", self.acting_ema, 0 < self.acting_ema <= 1, "more than 0, at most 1"),
        )

    @property
    def shape(self) -> Size:
        """What the size says, with what is set by hand put over it."""
        by_hand = {name: value for name in Size._fields if (value := getattr(self, name))}
        return SIZES[self.size]._replace(**by_hand)


@dataclass(frozen=True)
class SamplingConfig:
    """Under which skills a batch's transitions are labelled, and how reward is made."""

    commanded_ratio: float = 0.6
    """Share labelled with the command under which they were collected."""
    hindsight_ratio: float = 0.3
    """Share labelled with a skill that succeeds later in the same episode (hindsight)."""
    sparse: float = 0.4
    """Reward = (1 - sparse) * dense staged reward + sparse * success."""
    horizon: int = 40
    """Hindsight looks this many steps ahead: half a skill's time."""
    bc_labels: str = "commanded"
    """Which rows behaviour cloning imitates: 'own', those under the command that the action was taken for, or
    'achieved', those under a skill achieved in hindsight."""
    only_successes: bool = False
    """Draw only transitions of commands that succeeded at their end."""
    memory: str = "ram"
    """Where transitions lie: 'ram', or 'mapped' in unnamed files of the run directory (of other `torchrun` ranks than the
    first: in the system's folder for temporary files), for stores larger than memory."""
    balance: float = 0.0
    """0 draws every transition alike, 1 every command alike, so that rarely commanded skills are seen as often."""
    balance_hindsight: float = 0.0
    """Where a label is found in hindsight: 0 draws the transition, then one of the skills achieved after it; 1 draws the skill,
    all alike, then a transition that leads to it, so that what hardly ever succeeds is seen as often as what always does."""

    def __post_init__(self) -> None:
        _known("sampling.bc_labels", self.bc_labels, BC_LABELS)
        _known("sampling.memory", self.memory, MEMORIES)
        _fitting(
            ("sampling.sparse", self.sparse, 0 <= self.sparse <= 1, "a share of the reward, 0 to 1"),
            ("sampling.horizon", self.horizon, self.horizon >= 1, "at least 1"),
            ("sampling.balance", self.balance, 0 <= self.balance <= 1, "0 to 1"),
            ("sampling.balance_hindsight", self.balance_hindsight, 0 <= self.balance_hindsight <= 1, "0 to 1"),
        )


@dataclass(frozen=True)
class TrainingConfig:
    """How long to train and how often to look."""

    updates: int = 10_000
    """Updates on the seed data, before the first round; the learning rate falls over as many and stays low in the rounds."""
    minutes: float = 0
    """Train on the seed data, or offline, for at most this long, measuring not counted; 0: no limit. The learning rate
    then follows the clock: such a training is not the same twice."""
    round_updates: int = 400
    """At most this many updates per round."""
    evaluate_every: int = 2500
    """Updates between two points of the learning curves. Another number gives other weights, in their last digits."""
    evaluation_episodes: int = 8
    """Episodes per skill and point."""
    evaluation_temperature: float = 0.33
    """Of the acting policy when it is measured. A greedy policy (0) may stand still for ever where its likeliest action
    is none: of 384 stacks 15 failed greedily, 2 at 0.33 (docs/log.md)."""
    early_stop: bool = True
    """Whether training ends when analysis finds that every skill has converged or is stuck."""
    microbatches: int = 4
    """A batch's gradient is computed in this many parts and added up: one after the other, or by several processes."""
    processes: int = 0
    """Processes that share the parts; 0: as many as cores for small networks, 1 for large ones. The result does not
    depend on it."""
    threads: int = 1
    """Torch's threads per operation, in each process; more help only networks of millions of parameters."""
    device: str = "cpu"
    """Where the learner computes: 'cpu', 'cuda', 'cuda:1', ..."""
    sharded: bool = False
    """Whether the processes that `torchrun` starts cut the networks and the optimiser up among them (FSDP2), for networks too
    large for one device. Needs parts that they can share evenly. Checkpoints are the same."""
    precision: str = "float32"
    """'float32', or 'bfloat16' for mixed precision (autocast) on GPUs."""

    def __post_init__(self) -> None:
        _fitting(
            ("training.updates", self.updates, self.updates >= 1, "at least 1"),
            ("training.minutes", self.minutes, 0 <= self.minutes < math.inf, "0 or more"),
            ("training.round_updates", self.round_updates, self.round_updates >= 0, "0 or more"),
            ("training.evaluate_every", self.evaluate_every, self.evaluate_every >= 1, "at least 1"),
            ("training.evaluation_episodes", self.evaluation_episodes, self.evaluation_episodes >= 0, "0 or more"),
            _temperature("training.evaluation_temperature", self.evaluation_temperature),
            ("training.microbatches", self.microbatches, self.microbatches >= 1, "at least 1"),
            ("training.processes", self.processes, self.processes >= 0, "0 or more"),
            ("training.threads", self.threads, self.threads >= 1, "at least 1"),
        )


@dataclass(frozen=True)
class ExperimentConfig:
    """The rounds of the method."""

    rounds: int = 3
    episodes_per_round: int = 64
    plans_per_round: int = 8
    """Scenes the experimenter looks at per round; each gets a plan, and every plan several robots."""
    new_skills_per_round: int = 6
    """At most this many skills join the library for capability gaps."""
    temperature: float = 0.5
    """Of the acting policy while collecting; 0 is greedy."""
    exploration: float = 0.0
    """Share of the policy's control steps while collecting that are random, in stretches of five; see `Exploring`. What a
    policy has stopped to try, its own rounds cannot teach it."""
    final_episodes: int = 32
    """Episodes per skill in the before/after measurement."""

    def __post_init__(self) -> None:
        _fitting(
            ("experiment.rounds", self.rounds, self.rounds >= 0, "0 or more"),
            _temperature("experiment.temperature", self.temperature),
            ("experiment.exploration", self.exploration, 0 <= self.exploration <= 1, "a share of all steps, 0 to 1"),
        )


ROLES = ("propose", "decompose", "retrieve", "analyse")
STRUCTURES = ("auto", "native", "tool", "prompted")


@dataclass(frozen=True)
class ExperimenterConfig:
    """Who plays each role: 'planner', 'random', 'oracle', 'human', or a model. A model is named 'provider:model', such as
    'openai:...', 'anthropic:...', 'google:...', 'ollama:...', or by the address of an OpenAI-compatible server,
    'http://host:port/v1#model'. The other settings are for models only."""

    propose: str = "planner"
    decompose: str = "planner"
    retrieve: str = "planner"
    analyse: str = "planner"
    one_call: bool = False
    """Task, steps and their skills in one answer, instead of three questions as in the paper."""
    temperature: float = 0.7
    samples: int = 1
    """Answers per question; the most frequent one counts."""
    exemplars: int = 3
    """At most this many worked examples per prompt."""
    affordance: float = 0.0
    """Weight w of what is possible now: of a plan's first step, the skill with the highest (model's probability) x (critic's
    value in the scene)^w is taken. 0: the model's choice stands."""
    facts: bool = True
    """Whether what is true in a scene is said in words, beside the pictures."""
    images: bool = True
    """Whether pictures are sent; models without eyes need false."""
    structure: str = "auto"
    """How an answer is made to fit its type: 'native' (JSON schema), 'tool' (a call with arguments), 'prompted' (asked for
    in words); 'auto' is what the model's profile says."""
    spans: bool = False
    """Whether calls emit OpenTelemetry spans, to whatever provider the process has."""
    timeout_s: float = 60
    """Of one request."""
    retries: int = 5
    """After refused connections, timeouts, rate limits and server errors, with growing pauses."""
    max_tokens: int = 1500
    """Of one answer."""
    price_in: float = -1
    """USD per million tokens in and out, for models whose price is not known; below 0: not said."""
    price_out: float = -1
    prefetch: int = 1
    """Plans of a round are asked for while the robots of the round so many before it move, and know nothing of what came
    later: how stale they may be, in rounds. More hides a slower model; 0 asks when plans are needed."""
    max_concurrency: int = 16
    """Calls under way at the same time. Scenes and steps are asked about together, some 24 questions for 8 scenes."""

    def __post_init__(self) -> None:
        _known("experimenter.structure", self.structure, STRUCTURES)


@dataclass(frozen=True)
class BudgetConfig:
    """What the models of a run may use up, all roles together; 0: no limit. Checked before each call."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0
    minutes: float = 0
    """Spent waiting for answers."""


@dataclass(frozen=True)
class Config:
    """A run."""

    seed: int = 0
    world: WorldConfig = field(default_factory=WorldConfig)
    seed_data: SeedDataConfig = field(default_factory=SeedDataConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    experimenter: ExperimenterConfig = field(default_factory=ExperimenterConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)


PRESETS: dict[str, tuple[str, ...]] = {
    # preset -> overrides of the defaults
    "cpu": (),
    "tiny": (  # a whole run in well under a minute: for tests and a first look, too small to learn much
        "world.n_blocks=2",
        "world.n_envs=8",
        "seed_data.episodes=16",
        "agent.width=16",
        "agent.batch_size=32",
        "agent.action_samples=4",
        "training.updates=30",
        "training.processes=1",
        "training.round_updates=20",
        "training.evaluate_every=10",
        "training.evaluation_episodes=2",
        "experiment.rounds=2",
        "experiment.episodes_per_round=8",
        "experiment.plans_per_round=2",
        "experiment.final_episodes=4",
    ),
    # Baselines: what they change of the method, to be put behind another preset. None undoes what another one changed.
    "bc": ("agent.alpha=1", "agent.beta=0", "sampling.commanded_ratio=1", "sampling.hindsight_ratio=0"),
    "bc-filtered": (
        "agent.alpha=1",
        "agent.beta=0",
        "sampling.commanded_ratio=1",
        "sampling.hindsight_ratio=0",
        "sampling.only_successes=true",
    ),
    "bc-hindsight": (
        "agent.alpha=1",
        "agent.beta=0",
        "sampling.commanded_ratio=0",
        "sampling.hindsight_ratio=1",
        "sampling.bc_labels=hindsight",
    ),
    "bc+q": ("agent.alpha=1",),
    "mlp": ("agent.network=mlp",),
}


def preset(name: str) -> Config:
    """The configuration called `name`; several presets are joined by commas, such as 'tiny,bc'.

    Raises:
        LudusError: unknown preset, or two that change the same setting: together they would be neither.
    """
    config, changed_by = Config(), dict[str, str]()
    for part in name.split(","):
        if part not in PRESETS:
            raise unknown("preset", part, tuple(PRESETS))
        for assignment in PRESETS[part]:
            path = assignment.partition("=")[0]
            if path in changed_by:
                raise LudusError(f"presets {changed_by[path]!r} and {part!r} both change {path}; choose one of them")
            changed_by[path] = part
        config = override(config, PRESETS[part])
    return config


def override(config: Config, assignments: Sequence[str]) -> Config:
    """Replace leaves by `path=value` assignments such as `training.updates=500`.

    Raises:
        LudusError: no such path, or a value of the wrong type.
    """
    for assignment in assignments:
        path, separator, value = assignment.partition("=")
        if not separator:
            raise LudusError(f"override {assignment!r} is not of the form path=value, e.g. training.updates=500")
        config = _replace(config, path.split("."), value, assignment)
    return config


def _replace(node: Any, path: list[str], value: str, assignment: str) -> Any:
    hints = get_type_hints(type(node))
    if path[0] not in hints:
        sections = {name: get_type_hints(hint) for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
        inside = [f"{name}.{path[0]}" for name, section in sections.items() if path[0] in section]
        raise unknown(f"setting in {assignment!r}:", path[0], inside or tuple(hints))
    old = getattr(node, path[0])
    if dataclasses.is_dataclass(old):
        if len(path) == 1:
            raise LudusError(f"override {assignment!r} names a section; add one of {sorted(get_type_hints(type(old)))}")
        return dataclasses.replace(node, **{path[0]: _replace(old, path[1:], value, assignment)})
    if isinstance(old, dict) and len(path) == 2:
        return dataclasses.replace(node, **{path[0]: old | {path[1]: value}})
    if len(path) > 1:
        raise LudusError(f"override {assignment!r}: {path[0]!r} is a value, not a section")
    return dataclasses.replace(node, **{path[0]: _parse(value, hints[path[0]], assignment)})


def _parse(text: str, hint: Any, assignment: str) -> Any:
    try:
        if hint is bool:
            return {"true": True, "false": False}[text.lower()]
        if get_origin(hint) is tuple:
            return tuple(_parse(t, get_args(hint)[0], assignment) for t in text.split(",") if t)
        return hint(text)
    except (ValueError, KeyError):
        raise LudusError(f"override {assignment!r}: {text!r} is not of type {hint.__name__}") from None


def as_dict(config: Any) -> dict[str, Any]:
    """The tree as JSON-able dicts."""
    return dataclasses.asdict(config)


def from_dict(tree: dict[str, Any], cls: type = Config) -> Any:
    """Inverse of `as_dict`.

    Raises:
        LudusError: a key that this version does not know.
    """
    hints = get_type_hints(cls)
    for key in tree:
        if key not in hints:
            raise unknown("setting", key, tuple(hints))
    values = {
        k: from_dict(v, hints[k]) if dataclasses.is_dataclass(hints[k]) else tuple(v) if isinstance(v, list) else v
        for k, v in tree.items()
    }
    return cls(**values)
