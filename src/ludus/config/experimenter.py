"""The sections about who plays the experimenter's roles, what that may cost, and what people must allow. Only data, as
`ludus.config.sections`."""

from __future__ import annotations

from typing import Annotated, Literal, get_type_hints

from pydantic.dataclasses import dataclass

from ludus.config import limits
from ludus.config.limits import STRICT, Count, CountOrZero, PositiveOrZero, Real, Section, Size

Player = Annotated[str, "who plays a role"]


@dataclass(frozen=True, config=STRICT)
class ExperimenterConfig(Section):
    """Who plays each role: 'planner', 'random', 'oracle', 'human', 'agent' (a coding agent, see docs/agents.md), a proposer
    without plans (`ludus.experimenter.sampling`), or a model, which is named 'provider:model', such as 'openai:...',
    'anthropic:...', 'google:...', 'ollama:...', or by the address of an OpenAI-compatible server, 'http://host:port/v1#model'.
    The settings after the roles are for models only, but for those that say otherwise."""

    path = "experimenter."

    propose: Player = "planner"
    """Proposes the task of each scene."""
    decompose: Player = "planner"
    """Takes a task apart into steps, in words."""
    retrieve: Player = "planner"
    """Finds the skill for each step, or says that there is none."""
    analyse: Player = "planner"
    """Reads the learning curves: learning, converged or stuck."""
    write_skill: Player = "planner"
    """Writes the skill that a plan lacks; it is checked before anything is trained on it."""
    one_call: bool = False
    """Task, steps and their skills in one answer, instead of three questions as in the paper."""
    temperature: PositiveOrZero = 0.7
    """At which a model's answers are sampled."""
    samples: Size = 1
    """Answers per question; the most frequent one counts."""
    exemplars: CountOrZero = 3
    """At most this many worked examples per prompt."""
    affordance: PositiveOrZero = 0.0
    """Weight w of what is possible now: of a plan's first step, the skill with the highest (model's probability) x (critic's
    value in the scene)^w is taken. 0: the model's choice stands."""
    facts: bool = True
    """Whether what is true in a scene is said in words, beside the pictures."""
    images: bool = True
    """Whether pictures are sent; models that take no images need false. Of agents too."""
    structure: Literal["auto", "native", "tool", "prompted"] = "auto"
    """How an answer is made to fit its type: 'native' (JSON schema), 'tool' (a call with arguments), 'prompted' (asked for
    in words); 'auto' is native for addresses and 'ollama:...', else what the model's profile says."""
    spans: bool = False
    """Whether calls emit OpenTelemetry spans, to whatever provider the process has."""
    timeout_s: limits.Time = 60
    """Of one request."""
    retries: CountOrZero = 5
    """After refused connections, timeouts, rate limits and server errors, with growing pauses."""
    max_tokens: Count = 1500
    """Of one answer."""
    price_in: Real = -1
    """USD per million tokens that a model reads, where its price is not known; below 0: not said."""
    price_out: Real = -1
    """USD per million tokens that it writes."""
    prefetch: CountOrZero = 1
    """Plans are requested this many rounds ahead, from what is known at that time. 0: when needed. More rounds hide a slower
    model."""
    max_concurrency: limits.Threads = 16
    """Calls under way at the same time. Scenes and steps are asked about together, some 24 questions for 8 scenes."""
    answer_s: limits.TimeOrZero = 0
    """How long a question waits for an agent, or for a person who is not at the terminal; after that it counts as
    'can't tell'. 0: until somebody answers."""


ROLES = tuple(k for k, v in get_type_hints(ExperimenterConfig, include_extras=True).items() if v == Player)
"""Names of the roles; a new role is one more `Player` setting."""


@dataclass(frozen=True, config=STRICT)
class BudgetConfig(Section):
    """What the models of a run may use up, all roles together; 0: no limit. Checked before each call."""

    path = "budget."

    calls: CountOrZero = 0
    """Questions asked; 0: no limit."""
    tokens: CountOrZero = 0
    """Read and written; 0: no limit."""
    usd: PositiveOrZero = 0
    """Price of all answers, USD; 0: no limit."""
    minutes: limits.TimeOrZero = 0
    """Spent waiting for answers; 0: no limit."""


@dataclass(frozen=True, config=STRICT)
class OversightConfig(Section):
    """What a run may do only if people allow it. People may say something at any time (docs/commands.md); this is what the run
    waits for."""

    path = "oversight."

    approve_skills: bool = False
    """Whether a written skill that passed its checks waits for /approve or /reject before it is practised."""
    forbid: str = ""
    """Rules: conditions of the language of skills, parted by ';', such as 'on(red, green); height(blue) > 0.2'. A skill that the
    run begins with is left out if it brings one about; a task or a written skill is refused."""
    ask: bool = False
    """Whether a task or a written skill that a rule forbids waits for /approve or /reject, instead of being refused."""
    timeout_s: limits.Time = 600
    """How long the run waits for an answer, s."""
    default: Literal["approve", "reject"] = "reject"
    """What counts as the answer then."""
