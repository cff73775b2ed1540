"""The sections of the configuration: every setting with its default, its unit, its limits and, where one is known, the
reason for its value. Only data: no reading of files, arguments or environment variables.
"""

from __future__ import annotations

import os
import re
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ludus.config import limits
from ludus.config.collection import CollectionConfig
from ludus.config.experimenter import BudgetConfig, ExperimenterConfig, OversightConfig
from ludus.config.limits import (
    STRICT,
    Count,
    CountOrZero,
    Error,
    Positive,
    PositiveOrZero,
    Real,
    Section,
    Share,
    Size,
    Temperature,
    check_shares,
)
from ludus.config.record import RecordConfig
from ludus.config.sizes import SIZES, Network, SizeName
from ludus.config.sizes import Size as Shape
from ludus.types import LudusError

Option = bool | limits.Integer | Real | str
IN_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<kind>.*))?", re.DOTALL)
"""A world of one's own as a Python file and the name of a `WorldKind` in it."""


@dataclass(frozen=True, config=STRICT)
class WorldConfig(Section):
    """Which world, and how many copies of it. The path of a world's file is made absolute."""

    path = "world."

    name: str = "blocks"
    """blocks, ogbench, my_world.py:NAME (a Python file and the name of a `WorldKind` in it), or the name of an installed
    package's entry point in the group ludus.worlds (docs/add-a-world.md)."""
    n_blocks: Count = 3
    """1 to 8 coloured blocks (world blocks)."""
    variant: str = "single"
    """single, double, triple, quadruple or octuple cubes (world ogbench)."""
    n_envs: Size = 128
    """Simulations stepped together."""
    threads: limits.ThreadsOrZero = 0
    """Physics threads; 0 takes every core this process may use. The results do not depend on it."""
    options: dict[str, Option] = field(default_factory=dict, hash=False)
    """Settings that only this world has, by name: `world.options.friction=0.5`. Numbers, true, false or texts."""
    version: str = ""
    """Of a world that does not come with ludus: checksum of its file, or distribution and version of its package. A run keeps
    the one that it was begun with, and goes on with another only where this names it."""

    def __post_init__(self) -> None:
        if found := IN_FILE.fullmatch(self.name):
            file = os.path.abspath(os.path.expanduser(found["file"]))
            object.__setattr__(self, "name", f"{file}:{found['kind'] or ''}")

    @property
    def file(self) -> Path | None:
        """Of a world in a Python file."""
        found = IN_FILE.fullmatch(self.name)
        return Path(found["file"]) if found else None

    @property
    def kind(self) -> str:
        """The name in that file."""
        found = IN_FILE.fullmatch(self.name)
        return found["kind"] if found else ""

    def at(self, file: str | Path) -> WorldConfig:
        """The same world, its file elsewhere."""
        return replace(self, name=f"{file}:{self.kind}")


@dataclass(frozen=True, config=STRICT)
class SeedDataConfig(Section):
    """The episodes that training starts from, by default the teacher's, of mixed quality (docs/method.md, section 5).

    Raises:
        LudusError: a value outside of its limits; an empty range of noise; shares that sum to more than 1.
    """

    path = "seed_data."

    actor: Literal["auto", "teacher", "random", "play", "play-hindsight"] = "auto"
    """Who makes them: the world's teacher; chance; the world's own way of making episodes; or the same, with the commands
    forgotten and others found in what happened. 'auto' is the first of teacher, play and random that the world has."""
    episodes: Count = 3072
    """Collected before the first round."""
    segments: Size = 2
    """Skills per episode, each `skill_steps` long."""
    min_noise: Real = 0.0
    """Least noise of the teacher; see `max_noise`."""
    max_noise: Real = 0.6
    """The teacher's noise level of an episode is uniform on [min_noise, max_noise] ..."""
    clean_share: Real = 0.1
    """... except for this share without noise ..."""
    random_share: Real = 0.08
    """... and this share of random actions."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_noise <= self.max_noise:
            raise LudusError(f"noise from {self.min_noise} to {self.max_noise}: give 0 <= min_noise <= max_noise")
        check_shares(self.path, clean_share=self.clean_share, random_share=self.random_share)


@dataclass(frozen=True, config=STRICT)
class AgentConfig(Section):
    """The agent; by default Perceiver-Actor-Critic (arXiv 2402.05546). Origin of the defaults: docs/decisions.md, docs/log.md.

    Raises:
        LudusError: a value outside of its limits; a width that the heads do not divide.
    """

    path = "agent."

    name: str = "pac"
    """Which agent learns: a key of `ludus.agents.AGENTS`."""
    options: dict[str, Option] = field(default_factory=dict, hash=False)
    """Settings that only this agent has, by name: `agent.options.expectile=0.9`. Numbers, true, false or texts."""
    network: Network = "perceiver"
    """'perceiver', or 'mlp' of as many parameters."""
    size: SizeName = "xs"
    """xs (0.2 M parameters), s (1 M), base (10 M), m (40 M), l (80 M), 140m (the paper's), 1b; see `SIZES`."""
    width: limits.FromSize = 0
    """Numbers per token. For this and the next three, 0 takes the value of `size`."""
    latents: limits.FromSize = 0
    """Tokens that read the observation."""
    blocks: limits.FromSize = 0
    """Self-attention blocks on the latents."""
    heads: limits.FromSize = 0
    """Of attention; they divide the width."""
    action_bins: limits.Bins = 31
    """Values of each dimension of an action, from -1 to 1."""
    value_atoms: limits.Bins = 51
    """Of the distribution of Q, from 0 to 1."""
    alpha: Share = 0.3
    """Weight of behaviour cloning, a mean over the rows that are cloned (`sampling.bc_labels`), against policy improvement, a
    mean over all rows: the fewer are cloned, the more each weighs. 1 is BC."""
    beta: PositiveOrZero = 1.0
    """Weight of the critic; 0 with alpha 1 is plain BC."""
    eta: Positive = 2.0
    """Temperature of the improvement, in units of the mean standard deviation of Q over sampled actions in a microbatch."""
    horizon_s: limits.Time = 1.25
    """Of the discount, s: gamma = 1 - 1 / (horizon_s * control_hz), .96 at 20 Hz."""
    n_step_s: limits.Time = 0.4
    """Rewards are summed over at most this long before the critic's own estimate, s: 8 control steps at 20 Hz."""
    gamma: limits.Discount = 0.0
    """Discount per control step; 0: as `horizon_s` says."""
    n_step: limits.FromTime = 0
    """Control steps that rewards are summed over; 0: as `n_step_s` says."""
    action_samples: Size = 8
    """Actions drawn from the target policy; the improvement chooses among them and the action that was taken."""
    batch_size: Size = 512
    """Transitions per update."""
    learning_rate: Positive = 7e-4
    """Of AdamW, at the height of its cosine schedule."""
    weight_decay: PositiveOrZero = 1e-4
    """Of AdamW."""
    grad_clip: Annotated[float, Field(gt=0, description="more than 0")] = 1.0
    """Greatest norm of an update's gradient; inf does not clip."""
    target_ema: limits.Step = 0.005
    """Step of the target network towards the online one, per update."""
    acting_ema: limits.Step = 0.001
    """Step of the averaged weights that act."""

    def __post_init__(self) -> None:
        width, _, _, heads = self.shape
        if width % heads:
            raise LudusError(f"agent.width={width} is not a multiple of agent.heads={heads}; change one of them")

    @property
    def shape(self) -> Shape:
        """The shape that `size` names, with the settings that are not 0 in place of its own."""
        by_hand = {name: value for name in Shape._fields if (value := getattr(self, name))}
        return SIZES[self.size]._replace(**by_hand)

    def per_step(self, control_hz: float) -> AgentConfig:
        """These settings with `gamma` and `n_step` in numbers, in a world of this control rate."""
        gamma = self.gamma or max(1e-6, 1 - 1 / (self.horizon_s * control_hz))  # 0 would be read as a time again
        return replace(self, gamma=gamma, n_step=self.n_step or max(1, round(self.n_step_s * control_hz)))


MAX_HORIZON = 0x7FFE
"""Labels keep the steps to the next success in 15 bits, of which the largest value means 'never'."""


@dataclass(frozen=True, config=STRICT)
class SamplingConfig(Section):
    """Under which skills a batch's transitions are labelled, and how reward is made (docs/method.md, sections 3 and 5).

    Raises:
        LudusError: a value outside of its limits; ratios that sum to more than 1.
    """

    path = "sampling."

    commanded_ratio: Real = 0.6
    """Share labelled with the command under which they were collected."""
    hindsight_ratio: Real = 0.3
    """Share labelled with a skill that succeeds later in the same episode (hindsight)."""
    sparse: Annotated[Share, Field(description="a share of the reward, 0 to 1")] = 0.4
    """Reward = (1 - sparse) * dense staged reward + sparse * success."""
    horizon: Annotated[int, Field(ge=1, le=MAX_HORIZON, description=f"at least 1, at most {MAX_HORIZON}")] = 40
    """Hindsight looks this many steps ahead: half a skill's time."""
    bc_labels: Literal["commanded", "hindsight"] = "commanded"
    """Which rows behaviour cloning imitates: 'commanded', those under the command that the action was taken for, or
    'hindsight', those under a skill achieved in hindsight. Under a skill that is practised (see `focus`), those of either kind
    after which it succeeds: what a policy does that cannot do it yet is not to be imitated."""
    only_successes: bool = False
    """Draw only transitions of commands that succeeded at their end."""
    memory: Literal["ram", "mapped"] = "ram"
    """Where transitions lie: 'ram', or 'mapped' in unnamed files of the run directory (of other `torchrun` ranks than the
    first: in the system's folder for temporary files), for stores larger than memory."""
    balance: Share = 0.0
    """0 draws every transition alike, 1 every command alike, so that rarely commanded skills are seen as often."""
    balance_hindsight: Share = 0.0
    """Where a label is found in hindsight: 0 draws the transition, then one of the skills achieved after it; 1 draws the skill,
    all alike, then a transition that leads to it, so that what hardly ever succeeds is seen as often as what always does."""
    focus: Share = 0.5
    """Share of the labels of each kind (command, hindsight, any) for skills that are practised, while there are any."""

    def __post_init__(self) -> None:
        check_shares(self.path, commanded_ratio=self.commanded_ratio, hindsight_ratio=self.hindsight_ratio)


@dataclass(frozen=True, config=STRICT)
class TrainingConfig(Section):
    """How long to train and how often to measure."""

    path = "training."

    updates: Count = 2500
    """Updates on the seed data, before the first round; the learning rate falls over as many."""
    minutes: limits.TimeOrZero = 0
    """Train on the seed data, or offline, for at most this long, measuring not counted; 0: no limit. The learning rate
    then follows the clock: such a training is not the same twice."""
    round_updates: CountOrZero = 2500
    """At most this many updates per round with `experiment.episodes_per_round` new episodes; in proportion fewer where no skill
    is practised. The learning rate warms up again and falls over as many."""
    evaluate_every: Count = 2500
    """Updates between two points of the learning curves. Another number gives other weights, in their last digits."""
    evaluation_episodes: CountOrZero = 8
    """Episodes per skill and point."""
    evaluation_temperature: Temperature = 0.33
    """Of the acting policy when it is measured. A greedy policy (0) may stand still for ever where its likeliest action
    is none: of 384 stacks 15 failed greedily, 2 at 0.33 (docs/log.md)."""
    early_stop: bool = True
    """Whether training ends when analysis finds that every skill has converged or is stuck."""
    microbatches: Size = 2
    """A batch's gradient is computed in this many parts and added up: one after the other, or by several processes. On two
    cores 2 is 1.15 times as fast as 4, on four cores 4 is faster; another number gives other weights, in their last digits."""
    processes: limits.ThreadsOrZero = 0
    """Processes that share the microbatches; 0: as many as cores for small networks, 1 for large ones. The result does not
    depend on it."""
    threads: limits.Threads = 1
    """Torch's threads per operation, in each process; more help only networks of millions of parameters."""
    device: str = "cpu"
    """Where the learner computes: 'cpu', 'cuda', 'cuda:1', ..."""
    data_on_device: bool = False
    """Whether a copy of all transitions lies in that device's memory, so that a batch is no longer sent to it; the result
    does not depend on it. Worthwhile where observations are images."""
    sharded: bool = False
    """Whether to shard networks and optimiser over the ranks (FSDP2) that `torchrun` starts, for networks too large for one
    device. The number of microbatches must be a multiple of the ranks. Checkpoints have the same form, and differ by rounding."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """'float32', or 'bfloat16' for mixed precision (autocast) on GPUs."""


@dataclass(frozen=True, config=STRICT)
class ExperimentConfig(Section):
    """The rounds of the method (docs/method.md, section 1)."""

    path = "experiment."

    rounds: CountOrZero = 6
    """At most so many; with 0 a run ends after the training on the seed data."""
    stop_after: CountOrZero = 1
    """The rounds end once so many templates of skills written in the run are accepted; 0: only after `rounds`."""
    episodes_per_round: Count = 256
    """New episodes of a round, those of practice among them."""
    plans_per_round: Size = 8
    """Scenes the experimenter looks at per round; each gets a plan, and every plan several robots."""
    max_practising: CountOrZero = 1
    """At most this many templates of written skills ('put X beside Y') are practised at the same time; others wait. 0: no
    skill is written for capability gaps."""
    practice_ratio: Share = 0.75
    """Share of a round's episodes that practise skills; they are left out while there is none to practise."""
    practise_below: Share = 0.8
    """Base skills ('stack X on Y', all together) that succeed in less than this share of their last measurement are practised
    as written ones are. 0: only written ones are."""
    rehearsal: Share = 0.15
    """Share of these, and of the labels of each kind, for accepted skills that nobody demonstrated; else they are forgotten."""
    false_promotion: Error = 0.0005
    """Greatest chance, in each round, that a new policy replaces the one that acts though no skill gained more than .05. From a
    weak start most new policies are better, and few of them are shown to be with few `training.evaluation_episodes`: then .05."""
    practice_temperature: Temperature = 0.6
    """Of the acting policy while it practises."""
    practice_exploration: Annotated[Share, Field(description="a share of all steps, 0 to 1")] = 0.1
    """As `exploration`, while a skill is practised that has not succeeded once in practice."""
    practice_rounds: Count = 6
    """A written skill is dropped after so many rounds of practice; half if judged stuck, up to 16 while judged to be learning."""
    temperature: Temperature = 0.5
    """Of the acting policy while collecting; 0 is greedy."""
    exploration: Annotated[Share, Field(description="a share of all steps, 0 to 1")] = 0.0
    """Share of the policy's control steps while collecting that are random, in runs of five steps; see `EpsilonZGreedy`. A
    policy's own rounds cannot teach it actions that it no longer tries."""
    fill: bool = True
    """Whether a robot whose plan is over goes on with other plans of the round until the episode ends; with fixed switching."""
    switching: Literal["fixed", "conditional"] = "fixed"
    """A plan's skills last their declared steps, or until success, stall or time limit (docs/method.md, section 1)."""
    final_episodes: CountOrZero = 32
    """Episodes per skill in the before/after measurement."""

    @property
    def practice_episodes(self) -> int:
        """Of each round, while a skill is practised."""
        return round(self.practice_ratio * self.episodes_per_round)


@dataclass(frozen=True, config=STRICT)
class Config(Section):
    """A run."""

    seed: limits.Integer = 0
    """The only source of randomness."""
    world: WorldConfig = field(default_factory=WorldConfig)
    seed_data: SeedDataConfig = field(default_factory=SeedDataConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    experimenter: ExperimenterConfig = field(default_factory=ExperimenterConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    oversight: OversightConfig = field(default_factory=OversightConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
