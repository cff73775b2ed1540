"""`ludus cluster`: what it writes is what shells and SLURM's and SkyPilot's readers understand, and starts what it says."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import ludus

from ludus.record import Record

NODES = ("here", "there")
SRUN = """#!/bin/bash
# A task on each node that is asked for, as a process here.
tasks=1
while [[ "$1" == --* ]]; do
    case "$1" in --ntasks=*) tasks="${1#*=}" ;; esac
    echo "$1" >> "$ASKED"
    shift
done
trap 'kill $(jobs -p)' TERM
for ((i = 1; i < tasks; i++)); do SLURM_NODEID=$i "$@" & done
SLURM_NODEID=0 "$@" &
wait $! && wait
"""
SCONTROL = f"""#!/bin/bash
[[ "$*" == "show hostnames nodes[0-1]" ]] && printf '%s\\n' {" ".join(NODES)}
"""
DATA = ("--preset", "tiny", "world.n_envs=4", "-n", "24")
TRAIN = (
    "--preset",
    "tiny",
    "world.n_envs=4",
    "training.updates=4",
    "training.evaluate_every=2",
    "training.evaluation_episodes=1",
)
TAKES_S = 600


def written(folder, *words, what="run"):
    """The sbatch file and the SkyPilot task of a command."""
    ludus("cluster", what, "--dir", folder, *words)
    sky = folder / "ludus.sky.yaml"
    return (folder / "ludus.sbatch").read_text(), sky.read_text() if sky.is_file() else ""


@pytest.fixture
def programs(tmp_path):
    """The environment of a job of two nodes whose `srun` starts its tasks here."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "nodes[0-1]", "ASKED": str(tmp_path / "asked")}
    return os.environ | job | {"PATH": f"{folder}:{os.environ['PATH']}"}


def content(directory):
    """All rows but that of the run, which says how it was collected, and the checkpoints."""
    with Record.open(directory, write=False) as record:
        rows = {k: v for k, v in record.content().items() if k != "runs"}
        return rows, {p.name: p.read_bytes() for p in record.path("checkpoints").glob("**/*.pt")}


def carry_out(script, environment):
    done = subprocess.run(
        ["bash", script], env=environment, capture_output=True, text=True, timeout=TAKES_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


CASES = {
    "run": ("run", "--nodes", 3, "--cpus", 4, "--", "--dir", "a b/it's $HOME", "--preset", "tiny", "world.threads=2"),
    "collect": ("collect", "--", "data", *DATA, "collection.storage=file:///shared/exchange"),
    "train": ("train", "--gpus", 8, "--gpu", "H100", "--time", "2-01:02:03", "--", "learned", *TRAIN, "--data", "d",
              "training.device=cuda", "training.sharded=true", "training.microbatches=32"),
    "ready": ("train", "--ranks", 2, "--ready", "module load cuda; . /shared/venv/bin/activate", "--", "learned", *TRAIN,
              "--data", "d", "training.microbatches=4"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_by_shells_and_yaml(case, tmp_path):
    what, *words = CASES[case]
    batch, sky = written(tmp_path / "job", *words, what=what)
    yaml = pytest.importorskip("yaml")
    task = yaml.safe_load(sky)
    checker = shutil.which("shellcheck") or shutil.which("shellcheck", path=Path(sys.executable).parent)
    for text in (batch, *(f"#!/bin/bash\n{task[part]}" for part in ("setup", "run") if part in task)):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        if checker:
            checked = subprocess.run(
                [checker, "-e", "SC1090,SC1091,SC2016", "-"], input=text, text=True, capture_output=True
            )
            assert checked.returncode == 0, checked.stdout
    assert task["num_nodes"] == (3 if case == "run" else 2) and task["name"] == f"ludus-{what}"
    assert ("setup" in task) == (case != "ready")


def test_what_the_machines_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batch, sky = written(Path("job"), *CASES["run"][1:])
    for option in ("--nodes=3", "--cpus-per-task=4", "--time=0-12:00:00", "--no-kill", "--requeue"):
        assert f"\n#SBATCH {option}\n" in batch
    # two tasks of two cores on each of three nodes, and as many waiting
    assert batch.count("collection.in_flight=12") == sky.count("collection.in_flight=12") == 2
    quoted = """'a b/it'"'"'s $HOME'"""
    assert f"ludus resume {quoted} " in batch and f"ludus run --dir {quoted} --preset tiny world.threads=2 " in batch
    token = tmp_path / "job/token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and f"RAY_AUTH_TOKEN_PATH={token}" in batch
    kept = token.read_text()
    assert len(kept) == 64 and kept not in batch + sky
    written(Path("job"), *CASES["run"][1:])
    assert token.read_text() == kept, "a cluster that runs keeps its token"
    batch, sky = written(Path("learner"), *CASES["train"][1:], what="train")
    for text in (batch, sky):
        assert "torchrun --nnodes=2 --nproc-per-node=8 --node-rank=" in text and "RAY_" not in text
    assert "\n#SBATCH --gpus-per-node=8\n" in batch and "accelerators: 'H100:8'" in sky and "--no-kill" not in batch
    assert "\n#SBATCH --time=2-01:02:03\n" in batch and f"timeout {2 * 86400 + 3600 + 123} torchrun" in sky
    assert not Path("learner/token").exists()


def test_gpus_without_a_name_are_for_slurm(tmp_path):
    words = [w for w in CASES["train"][1:] if w not in ("--gpu", "H100")]
    said = ludus("cluster", "train", "--dir", tmp_path / "job", *words)
    assert "sbatch " in said and "give --gpu H100" in said and not (tmp_path / "job/ludus.sky.yaml").exists()


@pytest.mark.parametrize(
    ("what", "words", "why"),
    [
        ("run", (), "give `run` a directory"),
        ("run", ("--nodes", 0, "--", "--dir", "x"), "--nodes 0 must be 1 to 10000"),
        ("run", ("--time", "12h", "--", "--dir", "x"), "--time '12h' must be"),
        ("run", ("--time", "0:00:00", "--", "--dir", "x"), "must be"),
        ("run", ("--gpus", 1, "--", "--dir", "x"), "give --gpus N and training.device=cuda"),
        ("run", ("--gpus", 8, "--", "--dir", "x", "training.device=cuda"), "`run` learns on one"),
        ("run", ("--", "--dir", "x", "training.device=cuda"), "do not fit"),
        ("run", ("--ranks", 2, "--", "--dir", "x"), "are processes of train"),
        ("run", ("--gpu", "H100", "--", "--dir", "x"), "--gpus 8 --gpu H100"),
        ("run", ("--", "--dir", "x", "collection.address=a:1"), "the machines of the job are the cluster"),
        ("run", ("--", "--dir", "x", "world.threads=9"), "a task takes 9 cores"),
        ("run", ("--", "--dir", "x", "--record", "postgresql://me:secret@host/db"), "a password would be kept"),
        ("run", ("--", "--dir", "x\ny"), "characters that no script keeps"),
        ("run", ("--", "--dir", "x", "experiment.round=2"), "nearest: 'rounds'"),
        ("run", ("--", "--dir", "x", "world.name=bloks"), "blocks"),
        ("collect", ("--gpus", 1, "--", "x"), "`collect` uses none"),
        ("train", ("--", "x", "training.microbatches=4"), "nothing to learn from"),
        ("train", ("--nodes", 4, "--", "x", "--data", "d"), "4 processes for training.microbatches=2"),
        (
            "train",
            ("--nodes", 2, "--", "x", "--data", "d", "training.microbatches=3", "training.sharded=true"),
            "a multiple",
        ),
        ("train", ("--nodes", 1, "--", "x", "--data", "d", "training.sharded=true"), "this is one"),
    ],
)
def test_what_cannot_start_is_refused(what, words, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ludus("cluster", what, "--dir", "job", *words, code=2)
    assert why in said and "secret" not in said
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Collected by one process."""
    pytest.importorskip("ray")
    directory = tmp_path_factory.mktemp("one") / "data"
    ludus("collect", directory, *DATA)
    return content(directory)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_of_two_nodes_collects_on_their_ray_cluster(one, tmp_path, programs):
    written(tmp_path / "job", "--cpus", 1, "--", tmp_path / "two", *DATA, what="collect")
    said = carry_out(tmp_path / "job/ludus.sbatch", programs)
    assert content(tmp_path / "two") == one
    assert said.count("Ray runtime started") == 2 and "--nodelist=there" in (tmp_path / "asked").read_text()
    assert not list(Path("/tmp").glob(f"ludus-{os.getpid()}"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_skypilots_machines_collect_on_their_ray_cluster(one, tmp_path):
    """What each of two machines runs, as processes here."""
    yaml = pytest.importorskip("yaml")
    ready = f"export PATH={Path(sys.executable).parent}:$PATH"
    task = yaml.safe_load(
        written(tmp_path / "job", "--cpus", 1, "--ready", ready, "--", "data", *DATA, what="collect")[1]
    )
    nodes = []
    for rank in range(2):
        home = tmp_path / str(rank)
        home.mkdir()
        shutil.copy2(task["file_mounts"]["~/.ludus-token"], home / ".ludus-token")
        told = {"SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1", "SKYPILOT_NODE_RANK": str(rank), "HOME": str(home)}
        how = {
            "cwd": home,
            "env": os.environ | told,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }
        nodes.append(subprocess.Popen(["bash", "-c", task["run"]], **how))
    said = [node.communicate(timeout=TAKES_S)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert all("Ray runtime started" in text for text in said)
    assert content(tmp_path / "0/data") == one


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_of_two_nodes_trains_by_torchrun(tmp_path, programs):
    """Sharded, with a microbatch per rank; the checkpoint is that of one process, and is evaluated as such."""
    ludus("collect", tmp_path / "data", *DATA[:-1], 8)
    command = (*TRAIN, "--data", tmp_path / "data")
    ludus("train", tmp_path / "one", *command)
    written(tmp_path / "job", "--cpus", 1, "--", tmp_path / "two", *command, "training.sharded=true", what="train")
    carry_out(tmp_path / "job/ludus.sbatch", programs)
    one, two = (torch.load(sorted((tmp_path / d / "checkpoints").glob("*.pt"))[-1])["acting"] for d in ("one", "two"))
    assert all(torch.allclose(one[k], two[k], atol=1e-4) for k in one)
    assert "reach X" in ludus("eval", tmp_path / "two", "--skills", "reach X", "--episodes", 1)
