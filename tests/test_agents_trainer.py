"""PAC's learner: that it learns, resumes exactly, and does so in any number of processes."""

import dataclasses
import multiprocessing as mp
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from toy_world import OBJECTS, SMALL, SPEC, observe

from ludus.agents.backends import process_group
from ludus.agents.backends.local import LocalBackend
from ludus.agents.backends.workers import HUGE_PAGES, TUNABLES
from ludus.agents.batches import BatchReader
from ludus.agents.captions import CaptionEncoder
from ludus.agents.policy import load_policy
from ludus.agents.trainer import Trainer
from ludus.config import TrainingConfig
from ludus.types import Batch, LudusError

pytestmark = pytest.mark.usefixtures("one_thread")


class Targets:
    """A one-step task: reward is high where the action equals the direction from the hand to the named block."""

    captions = ("go to red", "go to green")

    def __init__(self, config, seed=0, noise=1.0):
        self.config, self.i, self.seed, self.noise = config, 0, seed, noise

    def next(self):
        draw = np.random.default_rng((self.seed, self.i))
        self.i += 1
        n = self.config.batch_size
        seen, skills = observe(draw, n), draw.integers(0, 2, n)
        at = np.stack([seen[o][:, :2] for o in OBJECTS])[skills, np.arange(n)]
        best = np.clip((at - seen["hand"][:, :2]) * 5, -1, 1)
        actions = np.clip(best + self.noise * draw.normal(size=(n, 2)), -1, 1).astype(np.float32)
        reward = np.exp(-4 * np.square(actions - best).sum(-1)).astype(np.float32) / (1 - self.config.gamma)
        nothing = np.zeros(n, np.float32)
        return Batch(seen, actions, seen, reward, nothing, skills, np.ones(n, bool))

    def error(self, policy):
        draw = np.random.default_rng(99)
        seen = observe(draw, 200)
        errors = []
        for caption, name in zip(self.captions, OBJECTS, strict=True):
            best = np.clip((seen[name][:, :2] - seen["hand"][:, :2]) * 5, -1, 1)
            errors.append(np.abs(policy.act(seen, [caption] * 200) - best).mean())
        return max(errors)


def test_it_improves_on_what_it_was_shown():
    """Shown are the best actions plus noise of one unit, clipped: cloning errs more than what rewards teach."""
    errors = {}
    for alpha in (0.0, 1.0):
        # 300 updates: large steps of improvement, on a critic that errs little
        config = dataclasses.replace(SMALL, alpha=alpha, eta=0.5, learning_rate=3e-3, target_ema=0.05, acting_ema=0.02)
        source, learner = Targets(config), Trainer(config, SPEC, 300, 0, TrainingConfig(microbatches=1, processes=1))
        learner.fit(source, 300)
        errors[alpha] = source.error(learner.policy())
    assert errors[0.0] < 0.45
    assert errors[0.0] < 0.7 * errors[1.0]


def test_saved_and_loaded_it_goes_on_bit_for_bit(tmp_path):
    whole = Trainer(SMALL, SPEC, 20, 0)
    source = Targets(SMALL)
    whole.fit(source, 5)
    whole.fit(source, 5)
    half, source = Trainer(SMALL, SPEC, 20, 0), Targets(SMALL)
    half.fit(source, 5)
    half.save(tmp_path / "half.pt")
    resumed = Trainer.load(tmp_path / "half.pt", SPEC)
    resumed.fit(source, 5)
    for a, b in zip(whole.backend.online.parameters(), resumed.backend.online.parameters(), strict=True):
        assert torch.equal(a, b)
    kept = [tmp_path / name / "end.pt" for name in ("whole", "resumed")]
    for learner, path in zip((whole, resumed), kept, strict=True):
        learner.save(path)
    assert kept[0].read_bytes() == kept[1].read_bytes()


def trained(training, updates=3):
    learner = Trainer(SMALL, SPEC, 20, 0, training)
    learner.fit(Targets(SMALL), updates)
    return learner


def test_who_trains_and_acts_loads_no_compiler(tmp_path):
    """torch's takes seconds of a process's start."""
    code = (
        "import sys; from test_agents_trainer import *\n"
        "path = Path(sys.argv[1])\n"
        "trained(TrainingConfig()).save(path)\n"
        "loaded = Trainer.load(path, SPEC)\n"
        "loaded.fit(Targets(SMALL), 1)\n"
        "Targets(SMALL).error(loaded.policy())\n"
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.pt"], check=True, timeout=120, cwd=Path(__file__).parent)


def test_the_number_of_processes_does_not_show():
    alone, workers = trained(TrainingConfig(processes=1)), trained(TrainingConfig(processes=2))
    for a, b in zip(alone.backend.acting.parameters(), workers.backend.acting.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_process_that_dies_is_named_and_replaced():
    learner = trained(TrainingConfig(processes=2))
    mp.active_children()[0].kill()
    with pytest.raises(LudusError, match="died"):
        learner.fit(Targets(SMALL), 3)
    assert learner.fit(Targets(SMALL), 3)["loss"] > 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize(("tuned", "found"), [(None, HUGE_PAGES), ("glibc.malloc.check=0", "glibc.malloc.check=0")])
def test_workers_get_huge_pages_unless_the_user_tunes_glibc(monkeypatch, tuned, found):
    monkeypatch.delenv(TUNABLES, raising=False)
    if tuned:
        monkeypatch.setenv(TUNABLES, tuned)
    learner = trained(TrainingConfig(processes=2), updates=1)
    environment = Path(f"/proc/{mp.active_children()[0].pid}/environ").read_text().split("\0")
    assert f"{TUNABLES}={found}" in environment
    assert os.environ.get(TUNABLES) == tuned
    learner.backend.close()


def _rank(rank, folder, work, world):
    torch.set_num_threads(1)
    import ludus.agents.backends.distributed  # noqa: F401  # as `process_group.init` does, before there is a group

    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    work(folder)
    process_group.shutdown()
    # Threads that are still there when the interpreter ends abort it now and then: 'terminate called without an active ...'
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
    assert not [name for name in names if "gloo" in name]


def on_ranks(folder, work, world=2):
    """`work(folder)` on each of several ranks."""
    torch.multiprocessing.spawn(_rank, (folder, work, world), world)
    (folder / "meet").unlink(missing_ok=True)


def _learn(folder):
    learner = Trainer.load(folder / "begun.pt", SPEC)
    learner.fit(Targets(SMALL), 3)
    learner.save(folder / f"{dist.get_rank()}.pt")


def test_two_ranks_learn_as_one(tmp_path):
    begun = trained(TrainingConfig(processes=1), updates=2)
    begun.save(tmp_path / "begun.pt")
    on_ranks(tmp_path, _learn)
    alone = Trainer.load(tmp_path / "begun.pt", SPEC)
    alone.fit(Targets(SMALL), 3)
    for rank in range(2):
        together = Trainer.load(tmp_path / f"{rank}.pt", SPEC)
        for what, distance in apart(alone, everything(together), everything(begun)).items():
            assert distance < 1e-3, (rank, what)


SHARDED = TrainingConfig(microbatches=4, sharded=True)
CLONING = dataclasses.replace(SMALL, alpha=1.0, beta=0.0)
KINDS = {
    "perceiver": (SMALL, {}),
    "deep, uneven slices": (dataclasses.replace(SMALL, width=18, blocks=3, latents=3), {}),
    "mlp": (dataclasses.replace(SMALL, network="mlp"), {}),
    "cloning, without a critic": (CLONING, {}),
    "rounded": (SMALL, {"precision": "bfloat16"}),
}


def _slices(folder):
    """From one.pt, two updates on; then, in a learner that reads what was saved, one more."""
    for kind, (config, how) in KINDS.items():
        training = dataclasses.replace(SHARDED, **how)
        learner = Trainer.load(folder / f"{kind}.pt", SPEC, training)
        source = Targets(config)
        learner.fit(source, 2)
        held = sum(p.to_local().numel() for p in learner.backend.online.parameters())
        assert held < 0.6 * learner.n_parameters
        with pytest.raises(RuntimeError, match="gather"):
            learner.policy()
        learner.gather()
        if dist.get_rank() == 0:
            learner.save(folder / f"{kind}, two on.pt")
            torch.save(learner.policy(), folder / f"{kind}, acting")
        dist.barrier()
        again = Trainer.load(folder / f"{kind}, two on.pt", SPEC, training)
        again.fit(source, 1)
        again.gather()
        if dist.get_rank() == 0:
            again.save(folder / f"{kind}, three on.pt")


def everything(learner):
    moments = learner._optimiser.state_dict()["state"][0]
    found = {name: getattr(learner.backend, name).state_dict() for name in ("online", "target", "acting")}
    return found | {name: {"all": moments[name]} for name in ("exp_avg", "exp_avg_sq")}


def apart(one, two, begun):
    """Distance between two learners, each kind of number by how far it moved since the beginning, and the moments by
    their size."""
    found = {}
    for name, state in everything(one).items():
        a, b, start = (torch.cat([v.flatten() for v in s.values()]) for s in (state, two[name], begun[name]))
        found[name] = float((a - b).norm() / (a - start * (not name.startswith("exp"))).norm())
    return found


def test_sharded_ranks_learn_as_one_and_their_checkpoints_are_the_same(tmp_path):
    for kind, (config, how) in KINDS.items():
        begun = Trainer(config, SPEC, 20, 0, TrainingConfig(microbatches=4, processes=1, **how))
        begun.fit(Targets(config, seed=1), 2)
        begun.save(tmp_path / f"{kind}.pt")
    on_ranks(tmp_path, _slices)
    for kind, (config, how) in KINDS.items():
        training, source = TrainingConfig(microbatches=4, processes=1, **how), Targets(config)
        alone = Trainer.load(tmp_path / f"{kind}.pt", SPEC, training)
        begun = everything(Trainer.load(tmp_path / f"{kind}.pt", SPEC))
        for updates, name in ((2, "two on"), (1, "three on")):
            alone.fit(source, updates)
            alone.save(tmp_path / "alone.pt")
            path = tmp_path / f"{kind}, {name}.pt"
            one, two = (torch.load(p, weights_only=True) for p in (tmp_path / "alone.pt", path))
            assert form(one) == form(two)
            together = Trainer.load(path, SPEC, training)
            # Sharded, bfloat16 also rounds the few weights that autocast leaves alone.
            near = {"exp_avg": 1e-5, "exp_avg_sq": 1e-5} if not how else {"exp_avg": 0.02, "exp_avg_sq": 0.02}
            for what, distance in apart(alone, everything(together), begun).items():
                assert distance < near.get(what, 0.2 if how else 1e-3), (kind, name, what)
        policy = torch.load(tmp_path / f"{kind}, acting", weights_only=False)
        two = Trainer.load(tmp_path / f"{kind}, two on.pt", SPEC).policy()
        seen = observe(np.random.default_rng(0), 5)
        assert np.array_equal(policy.act(seen, ["go to red"] * 5), two.act(seen, ["go to red"] * 5))
        together.fit(source, 1)  # and on, in one process


def form(state):
    """What a checkpoint is made of, without the numbers of its weights."""
    if isinstance(state, torch.Tensor):
        return state.dtype, tuple(state.shape), state.device.type, type(state)
    if isinstance(state, dict):
        return {k: form(v) for k, v in state.items()}
    return [form(v) for v in state] if isinstance(state, list) else state


def _uneven(folder):
    with pytest.raises(LudusError, match=r"3 sharded ranks for training.microbatches=4"):
        trained(SHARDED)


def test_what_cannot_be_cut_up_is_refused(tmp_path):
    with pytest.raises(LudusError, match="torchrun"):
        trained(SHARDED)
    on_ranks(tmp_path, _uneven, 3)


def test_mixed_precision_rounds_the_networks_and_not_the_losses():
    """What the improvement weighs are small differences between values: in bfloat16 many would be none."""
    learner = trained(TrainingConfig(microbatches=1, processes=1, precision="bfloat16"))
    assert learner.updates == 3
    assert isinstance(learner.backend, LocalBackend)
    agent = learner.backend._microbatches.agent
    with torch.no_grad():
        prepared = agent.prepare(BatchReader(Targets(SMALL), SPEC).next(), torch.Generator().manual_seed(0))
    weights = prepared.weights
    assert weights.dtype == prepared.gamma_target.dtype == torch.float32
    assert len(weights.unique()) > 0.8 * len({tuple(t) for row in prepared.candidates.tolist() for t in row})
    loss, info = agent.loss(prepared)
    gradient = torch.autograd.grad(loss, list(learner.backend.online.parameters()))
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradient)
    assert all(v.dtype == torch.float32 and v.isfinite() for v in info.values())


@pytest.mark.parametrize(
    ("training", "words"),
    [({"device": "cuda:99"}, "cuda:99"), ({"precision": "float8"}, "float8"), ({"microbatches": 0}, "microbatches")],
)
def test_what_cannot_compute_is_refused(training, words):
    with pytest.raises(LudusError, match=words):
        Trainer(SMALL, SPEC, 20, 0, TrainingConfig(**training))


def test_plain_cloning_leaves_the_critic_alone():
    config = dataclasses.replace(SMALL, alpha=1.0, beta=0.0, weight_decay=0.0)
    learner = Trainer(config, SPEC, 10, 0)
    before = {n: p.detach().clone() for n, p in learner.backend.online.named_parameters()}
    learner.fit(Targets(config), 3)
    moved = {n.split(".")[0] for n, p in learner.backend.online.named_parameters() if not torch.equal(p, before[n])}
    assert {"value_read", "value_out", "action_in"}.isdisjoint(moved)
    assert {"policy_read", "policy_out", "task_in", "object_in", "words", "latents"} <= moved


def test_no_number_stops_the_training():
    class Broken(Targets):
        def next(self):
            batch = super().next()
            batch.returns[:] = np.nan
            return batch

    with pytest.raises(LudusError, match="diverged"):
        Trainer(SMALL, SPEC, 60, 0).fit(Broken(SMALL), 60)


@pytest.mark.parametrize("allocate", [lambda: np.empty(2**50), lambda: torch.empty(2**50)])
def test_too_little_memory_is_explained(allocate):
    class Huge(Targets):
        def next(self):
            allocate()

    with pytest.raises(LudusError, match=r"not enough memory .* smaller agent\.batch_size"):
        Trainer(SMALL, SPEC, 60, 0).fit(Huge(SMALL), 60)


def test_another_worlds_checkpoint_is_refused(tmp_path):
    Trainer(SMALL, SPEC, 1, 0).save(tmp_path / "a.pt")
    with pytest.raises(LudusError, match="'toy'"):
        Trainer.load(tmp_path / "a.pt", dataclasses.replace(SPEC, name="other"))


def test_a_checkpoint_of_other_fields_or_actions_is_refused_in_a_sentence(tmp_path):
    Trainer(SMALL, SPEC, 1, 0).save(tmp_path / "old.pt")
    more = dataclasses.replace(SPEC, actions=(*SPEC.actions, "lean"))
    for changed, inner in ((more, r"\w\S+"), (dataclasses.replace(SPEC, encoder=None), r"task_in\S+")):
        for load in (load_policy, Trainer.load, Trainer(SMALL, changed, 1, 0).start_from):
            arguments = (tmp_path / "old.pt", changed)[: 1 if load.__name__ == "start_from" else 2]
            with pytest.raises(
                LudusError, match=rf"{inner} is \[\d+.*\], expected \[\d+.*\]\. Since its training the fields"
            ):
                load(*arguments)


def test_captions_point_at_objects_in_order():
    reader = CaptionEncoder(("red", "light red", "green"))
    words, mentioned = reader.read("stack light red on red")
    assert mentioned.tolist() == [1, 0, -1]
    assert np.array_equal(words, reader.read("stack green on red")[0])


def test_an_episodes_actions_do_not_depend_on_its_neighbours():
    @dataclasses.dataclass
    class Job:
        seed: int

    policy = Trainer(SMALL, SPEC, 1, 0).policy(temperature=1.0)
    seen = observe(np.random.default_rng(0), 3)
    policy.begin([Job(1), Job(2), Job(3)])
    together = policy.act(seen, ["go to red"] * 3)
    policy.begin([Job(3)])
    alone = policy.act({g: a[2:] for g, a in seen.items()}, ["go to red"])
    assert np.array_equal(together[2], alone[0])


def test_values_of_captions_in_scenes():
    config = dataclasses.replace(SMALL, alpha=0.5)
    learner = Trainer(config, SPEC, 100, 0)
    learner.fit(Targets(config), 20)
    scenes = observe(np.random.default_rng(0), 5)
    policy = learner.policy()
    values = policy.values(scenes, ["go to red", "go to green", "go to red"])
    assert values.shape == (5, 3) and (values >= 0).all() and (values <= 1).all()
    np.testing.assert_allclose(values[:, 0], values[:, 2], atol=1e-6)
    one = policy.values({g: a[3:4] for g, a in scenes.items()}, ["go to green"])
    np.testing.assert_allclose(one[0, 0], values[3, 1], atol=1e-5)
