"""What starts a command on several machines: an sbatch file for SLURM, a task for SkyPilot. Both only start machines.

`run` and `collect` get a Ray cluster of all of them; its head and the command are on the first one. `train` is started on each
by torchrun. A job that is started again goes on where the command stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

from ludus.scale.environment import CLUSTER, STORE_BYTES

SKY_TOKEN = "~/.ludus-token"
SKY_ENVIRONMENT = "~/ludus-environment"
SKY_READY = f". {SKY_ENVIRONMENT}/bin/activate"
"""`Launch.ready` of machines where ludus was installed by `sky_install`."""
JOINS = '--address="$address:$port"'
HEAD_S = 300
"""How long the other nodes wait for the first one."""


@dataclass(frozen=True)
class Launch:
    """One command on `nodes` equal machines."""

    arguments: tuple[str, ...]
    """The command: its name ('run', 'collect' or 'train') and what follows."""
    resumed: tuple[str, ...]
    """What goes on with it, where that is another command; empty: the same."""
    nodes: int
    cpus: int  # of each
    gpus: int  # of each
    gpu: str
    """What the GPUs are called by SkyPilot; may be empty without GPUs."""
    ranks: int
    """Processes of a training on each node."""
    seconds: int
    directory: Path
    """Where the files are written, with the cluster's token; absolute."""
    start: Path
    """Where relative paths of the command begin, on SLURM's nodes; absolute."""
    ready: str
    """Shell commands that make `ludus` one of a node."""
    written: str
    """The command that wrote this."""

    @property
    def name(self) -> str:
        """What the job is called."""
        return f"ludus-{self.arguments[0]}"

    @property
    def on_ray(self) -> bool:
        return self.arguments[0] != "train"


def sbatch(launch: Launch) -> str:
    """The file for SLURM's `sbatch`. All nodes reach `launch.directory`."""
    options = {
        "job-name": launch.name,
        "nodes": launch.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": launch.cpus,
        **({"gpus-per-node": launch.gpus} if launch.gpus else {}),
        "time": _slurm_time(launch.seconds),
        "output": launch.directory / "%x-%j.log",
        "open-mode": "append",
    }
    lines = [f"#SBATCH --{option}={value}" for option, value in options.items()]
    # A node that is lost is the end of a training, which begins anew where it stopped; on Ray its tasks are done elsewhere.
    lines += ["#SBATCH --requeue", *(["#SBATCH --no-kill"] if launch.on_ray else [])]
    head = [
        "#!/bin/bash",
        *lines,
        *_comment(launch),
        "set -euo pipefail",
        launch.ready,
        f"cd {shlex.quote(str(launch.start))}",
        "address=$(hostname -I | cut -d' ' -f1)  # of the first node, which runs this",
        "port=$((20000 + SLURM_JOB_ID % 10000))",
    ]
    body = _slurm_ray(launch) if launch.on_ray else _slurm_torchrun(launch)
    return "\n".join(head) + "\n" + body


def sky(launch: Launch, source: Path | None, install: str) -> str:
    """The task for `sky launch`.

    Args:
        source: folder that is brought to each machine, to be installed there.
        install: shell commands that install ludus there, see `sky_install`; empty: it is there.
    """
    lines = [f"name: {launch.name}", f"num_nodes: {launch.nodes}"]
    lines += [f"workdir: {_quoted(source)}"] if source else []
    lines += ["resources:", f"  cpus: {launch.cpus}+"]
    lines += [f"  accelerators: {_quoted(f'{launch.gpu}:{launch.gpus}')}"] if launch.gpus else []
    if launch.on_ray:
        lines += ["file_mounts:", f"  {SKY_TOKEN}: {_quoted(launch.directory / 'token')}"]
    lines += ["setup: |", indent(install, "  ")] if install else []
    head = ["set -euo pipefail", launch.ready]
    head += ['address=$(head -n1 <<< "$SKYPILOT_NODE_IPS")', "port=6379  # SkyPilot's own Ray listens at 6380"]
    body = _sky_ray(launch) if launch.on_ray else _sky_torchrun(launch)
    run = "\n".join(head) + "\n" + body
    return "\n".join((*_comment(launch), *lines, "run: |")) + "\n" + indent(run, "  ")


def sky_install(python: str, requirement: Sequence[str]) -> str:
    """Shell commands that make a virtual environment with what pip is told."""
    return f"uv venv --seed --python {python} {SKY_ENVIRONMENT}\n" + (
        f"{SKY_ENVIRONMENT}/bin/pip install {shlex.join(requirement)}\n"
    )


# --- on Ray --------------------------------------------------------------------------------------------------------


def _slurm_ray(launch: Launch) -> str:
    worker = _node(launch, JOINS)
    return (
        "temporary=/tmp/ludus-$SLURM_JOB_ID\n"
        + _ray_variables(shlex.quote(str(launch.directory / "token")))
        + _function()
        + _head(launch)
        + dedent(f"""
        # The other nodes.
        mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
        for node in "${{nodes[@]:1}}"; do
            srun --nodes=1 --ntasks=1 --nodelist="$node" --cpus-per-task={launch.cpus} \\
                {worker} &
        done

        """)
        + _work(launch, "")
    )


def _sky_ray(launch: Launch) -> str:
    apart = " --dashboard-agent-listen-port=52366"  # SkyPilot's own Ray has its agent at the usual one
    return (
        "temporary=/tmp/ludus-ray\n"
        + _ray_variables(SKY_TOKEN)
        + _function()
        + dedent(f"""
        if [ "$SKYPILOT_NODE_RANK" != 0 ]; then
            await_head
            {_node(launch, JOINS + apart)} || true  # it ends with the head
            exit
        fi
        """)
        + _head(launch, apart)
        + "\n"
        + _work(launch, f"timeout {launch.seconds} ")
    )


def _ray_variables(token: str) -> str:
    settings = " ".join(f"{name}={value}" for name, value in CLUSTER.items())
    return f"export {settings} RAY_AUTH_TOKEN_PATH={token}\n"


def _function() -> str:
    return dedent(f"""
        await_head() {{
            for _ in $(seq {HEAD_S}); do
                if (: > "/dev/tcp/$address/$port") 2> /dev/null; then return; fi
                sleep 1
            done
            echo "nothing listens at $address:$port, where Ray's head should be" >&2
            exit 1
        }}
        """)


def _head(launch: Launch, more: str = "") -> str:
    start = '--head --node-ip-address="$address" --port="$port" --include-dashboard=false'
    return dedent(f"""
        # Ray's head, here. It ends with this script.
        {_node(launch, start + more)} &
        trap 'kill $(jobs -p) 2> /dev/null; wait; rm -rf "$temporary"' EXIT
        await_head
        """)


def _node(launch: Launch, which: str) -> str:
    return (
        f"ray start --block --disable-usage-stats {which} --num-cpus={launch.cpus} --num-gpus=0 "
        f'--object-store-memory={STORE_BYTES} --temp-dir="$temporary"'
    )


def _work(launch: Launch, limit: str) -> str:
    """The command, at the head."""
    at = '"collection.address=$address:$port" "collection.token=$RAY_AUTH_TOKEN_PATH" collection.on=ray'
    begin = f"{limit}ludus {shlex.join(launch.arguments)} {at}"
    if not launch.resumed:
        return f"{begin}\n"
    *resume, run = launch.resumed
    return dedent(f"""\
        if ludus status {shlex.quote(run)} > /dev/null 2>&1; then
            {limit}ludus resume {shlex.join([run, *resume])} {at}
        else
            {begin}
        fi
        """)


# --- by torchrun ---------------------------------------------------------------------------------------------------


def _slurm_torchrun(launch: Launch) -> str:
    return dedent(f"""
        node() {{
            {_torchrun(launch, "SLURM_NODEID")}
        }}
        export -f node
        export address port
        srun --ntasks={launch.nodes} --ntasks-per-node=1 --cpus-per-task={launch.cpus} --kill-on-bad-exit=1 bash -c node
        """)


def _sky_torchrun(launch: Launch) -> str:
    return f"timeout {launch.seconds} {_torchrun(launch, 'SKYPILOT_NODE_RANK')}\n"


def _torchrun(launch: Launch, rank: str) -> str:
    return (
        f'torchrun --nnodes={launch.nodes} --nproc-per-node={launch.ranks} --node-rank="${rank}" '
        f'--master-addr="$address" --master-port="$port" -m ludus.cli {shlex.join(launch.arguments)}'
    )


def _quoted(text: object) -> str:
    """As YAML has it."""
    return "'" + str(text).replace("'", "''") + "'"


def _comment(launch: Launch) -> list[str]:
    return [f"# Written by: {launch.written}", "# Started again, it goes on where it stopped."]


def _slurm_time(seconds: int) -> str:
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02}:{m:02}:{s:02}"
