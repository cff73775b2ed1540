"""Judging a round: which policy acts from here on, and what becomes of the skills that are practised.

Step of the record: `round/N/settle`. Its result names the training step whose policy is the best one from now on, and says what
was decided of each practised template, with the numbers behind it. How it is decided: `ludus.lab.gate`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ludus.agents.policy import Policy, load_policy
from ludus.config import Config
from ludus.experiment import checkpoints
from ludus.lab.acceptance import Acceptance, AcceptanceSettings, accept, most_rounds
from ludus.lab.approach import find_approaches
from ludus.lab.embodiment import EvalSpec, evaluate, tries
from ludus.lab.gate import GateDecision, GateSettings, PairedCount, allot, decide, first_look, spread
from ludus.lab.interventions import Overseer
from ludus.lab.oversight import LAST_STEP, wrong_verdicts
from ludus.lab.practice import Practice
from ludus.lab.room import Room
from ludus.record import Record
from ludus.record.progress import Progress
from ludus.seeding import child, rng
from ludus.skills.library import SkillLibrary
from ludus.types import Judgement, SuccessCount
from ludus.worlds.base import World

Settled = Literal["accepted", "practising", "dropped"]
MAX_LOOKS = GateSettings.max_looks
"""Of a practised template, to see whether it is accepted."""


@dataclass(frozen=True)
class Settling:
    """Settles the rounds of one run."""

    record: Record
    config: Config
    world: World
    practice: Practice
    progress: Progress
    overseer: Overseer

    def settle(self, n: int, library: SkillLibrary) -> None:
        """Compare the policy that round n trained with the best one so far; then accept, drop or go on practising each
        template that is practised. A template that is good enough to be accepted counts as a gain."""
        step, record = f"round/{n}/settle", self.record
        if record.done(step):
            return
        self.overseer.before(step)
        with record.commit(step) as opened:
            new, old = checkpoints.training_steps(record)[-1], checkpoints.best_step(record)
            practised = list(self.practice.practising(library).values())
            tried = [self._try(n, library, captions, new) for captions in practised]
            measured = self.config.training.evaluation_episodes > 0
            decision, best = None, new
            if measured and new != old:
                decision = self._compare(n, library, old, new, any(t.accepted for t in tried))
                best = new if decision.promote else old
                said = "replaces" if decision.promote else "does not replace"
                text = f"The policy of {new} {said} that of {old}: {decision.reason}."
                self._post("gate", text, asdict(decision) | {"old": old, "new": new})
            skills = [self._settle(n, library, c, t, best == new) for c, t in zip(practised, tried, strict=True)]
            gate = None if decision is None else asdict(decision)
            opened.result = {"best": best, "tried": new, "gate": gate, "skills": skills}
        checkpoints.prune(record)

    def n_accepted(self, n: int, after: int = 0) -> int:
        """Templates that were accepted in the first n rounds; in those that came after round `after`."""
        settled = (self.record.result(f"round/{k}/settle")["skills"] for k in range(after + 1, n + 1))
        return sum(skill["status"] == "accepted" for skills in settled for skill in skills)

    def goes_on(self, n: int) -> bool:
        """Whether there is a round n. Until it is planned, or until the end is measured, people may change that."""
        step = f"round/{n}/plan"
        if self.record.done(step):
            return True
        while True:
            expected = self._wants(n)
            self.overseer.before(step if expected else LAST_STEP)
            if self._wants(n) == expected:
                return expected

    def _wants(self, n: int) -> bool:
        most, overseer = self.config.experiment.stop_after, self.overseer
        enough = most > 0 and self.n_accepted(n - 1, overseer.reopened) >= most
        return not enough and not overseer.ends_before(n)

    # --- which policy acts -----------------------------------------------------------------------------------------

    def _compare(self, n: int, library: SkillLibrary, old: str, new: str, has_gained: bool) -> GateDecision:
        """Both policies try the skills from the same starts, some more at each look, until it is decided."""
        practised, dropped = self.practice.practising(library), self.practice.dropped
        captions = [c for c in library.captions if c not in dropped]
        families = library.families(captions)
        accepted = families.keys() - practised.keys()
        members = {template: len(family) for template, family in families.items()}
        policies, counts = (self._policy(old), self._policy(new)), list[PairedCount]()
        pairs = first_look(members, self.config.training.evaluation_episodes)
        approaches = find_approaches(library, self.world.spec)
        gain, settings = -math.inf, GateSettings(false_promotion=self.config.experiment.false_promotion)
        for look in range(settings.max_looks):
            seed, title = child(self.config.seed, f"round/{n}", "gate", look), f"round {n}: comparing policies"
            draw = rng(seed, "members")
            each = {c: m for t, n in pairs.items() for c, m in spread(n, families[t], draw).items()}
            trials = [EvalSpec((c,), each[c], seed, approaches=approaches) for c in captions if c in each]
            counts += self._pairs(f"{title} ({look + 1})", library, trials, policies)
            before = {"has_gained": has_gained, "gain_before": gain, "practised": self.practice.templates(n)}
            decision = decide(counts, accepted, look + 1, settings, **before)
            if decision.promote is not None:
                return decision
            gain = decision.gain
            pairs = allot(decision.open, members, self.config.training.evaluation_episodes)
        raise AssertionError("the last look decides")

    def _pairs(
        self, title: str, library: SkillLibrary, trials: Sequence[EvalSpec], policies: Sequence[Policy]
    ) -> list[PairedCount]:
        """One look: how often both policies, or only one of them, did a skill of each template from the same starts. A pair
        counts where both got to where the skill begins; where none did, both have failed in all."""
        total = len(policies) * sum(trial.steps(library) for trial in trials)
        with self.progress.stage(title, total) as advance:
            pairs = zip(*(tries(self.world, library, p, trials, advance) for p in policies), strict=True)
            found, tried = dict[str, list[int]](), Counter[str]()
            for (caption, old), (_, new) in pairs:
                template = library.template(caption)
                count = found.setdefault(template, [0, 0, 0, 0])
                tried[template] += 1
                if old is not None and new is not None:
                    count[0] += 1
                    count[1] += old.success_at_end and new.success_at_end
                    count[2] += old.success_at_end and not new.success_at_end
                    count[3] += new.success_at_end and not old.success_at_end
        return [PairedCount(t, n or tried[t], *counts) for t, (n, *counts) in found.items()]

    def _policy(self, step: str) -> Policy:
        path, spec = self.record.file(checkpoints.name_of(step)), self.world.spec
        return load_policy(path, spec, self.config.training.evaluation_temperature)

    # --- what becomes of a skill -----------------------------------------------------------------------------------

    def _settle(
        self, n: int, library: SkillLibrary, captions: Sequence[str], tried: Acceptance, acts: bool
    ) -> dict[str, Any]:
        """Decide on one template; returns what is recorded of it.

        Args:
            tried: how the policy does that the round trained.
            acts: whether that is the policy which acts from here on.
        """
        template = library.template(captions[0])
        practised = self.practice.rounds_of(template)
        status: Settled = "practising"
        if tried.accepted and acts:
            status = "accepted"
        elif practised >= most_rounds(self._judgement(n, template), self.config.experiment.practice_rounds):
            status = "dropped"
        if status != "practising":
            for caption in captions:
                self.record.set_skill_status(caption, status, n)
        said = {"accepted": "is accepted", "practising": "is practised further", "dropped": "is dropped"}[status]
        held_up = " by a policy that may not act" if tried.accepted and not acts else ""
        text = f"{template!r} {said} after {practised} rounds of practice: {tried.reason}{held_up}."
        self._post("settled", text, {"template": template, "status": status})
        return {"template": template, "captions": list(captions), "status": status, "rounds": practised} | asdict(tried)

    def _judgement(self, n: int, template: str) -> Judgement:
        """The last one that says something and was not marked as wrong: one unclear round does not make a curve that was rising
        another one."""
        wrong = wrong_verdicts(self.record)
        judged: list[Judgement] = [
            v.judgement
            for r, update, v in self.record.verdicts()
            if r <= n and v.caption == template and (r, update, template) not in wrong
        ]
        while judged and judged[-1] == "unclear":
            judged.pop()
        return judged[-1] if judged else "unclear"

    def _try(self, n: int, library: SkillLibrary, captions: Sequence[str], step: str) -> Acceptance:
        """Looks at the members of a template until they are accepted, or clearly not good enough, or have been looked at often
        enough."""
        policy, looks = self._policy(step), list[list[SuccessCount]]()
        episodes = self.config.training.evaluation_episodes
        approaches = find_approaches(library, self.world.spec)
        template = library.template(captions[0])
        while True:
            seed = child(self.config.seed, f"round/{n}", "acceptance", template, len(looks))
            trials = EvalSpec(tuple(captions), episodes, seed, approaches=approaches)
            title = f"round {n}: trying {template} ({len(looks) + 1})"
            with self.progress.stage(title, trials.steps(library)) as advance:
                looks.append(evaluate(self.world, library, policy, trials, advance))
            tried = accept(looks)
            hopeless = tried.interval[1] < AcceptanceSettings.success
            if tried.accepted or hopeless or len(looks) == MAX_LOOKS:
                return tried

    def _post(self, kind: str, text: str, payload: dict[str, Any]) -> None:
        Room(self.record).post("settling", "all", kind, text, payload=payload)
