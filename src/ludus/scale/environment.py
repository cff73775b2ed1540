"""How Ray is set up: every trap in one place. These are the variables and arguments of the child process that is the cluster's
driver (`fleet.py`), and so of the cluster that it starts; the run's own process and environment stay as they are.

Of a cluster that others started, usage statistics and dashboard are theirs to switch off: `ray start --disable-usage-stats
--include-dashboard=false`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ludus import machine
from ludus.config import CollectionConfig
from ludus.types import LudusError

STORE_BYTES = 100 * 2**20
"""Of the object store of a cluster that is started here, which Ray wants: neither shards nor checkpoints go through it."""
TOKEN = "token"
CLUSTER = {
    "RAY_USAGE_STATS_ENABLED": "0",  # on by default: reports to Ray's makers
    "RAY_AUTH_MODE": "token",  # where it is not set, Ray looks for a token in the home directory, or makes one there
}
"""Variables of every process of a cluster."""


def write_token(path: Path) -> None:
    """A new token, for the owner's eyes only."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def variables(config: CollectionConfig, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the driver of the cluster.

    Args:
        folder: of the run, where the token of a cluster of its own is kept; Ray would keep it in the home directory, for all.

    Raises:
        LudusError: there is no such token.
    """
    found = dict(environment) | CLUSTER
    if not config.address:
        found.pop("RAY_ADDRESS", None)  # would be preferred to starting one
        found.pop("RAY_AUTH_TOKEN", None)
        path = folder / TOKEN
        write_token(path)
        return found | {"RAY_AUTH_TOKEN_PATH": str(path.absolute())}
    if config.token:
        found.pop("RAY_AUTH_TOKEN", None)
        path = Path(config.token).expanduser().absolute()
        if not path.is_file():
            raise LudusError(
                f"collection.token={config.token} is no file; give the one that the cluster was started with"
            )
        return found | {"RAY_AUTH_TOKEN_PATH": str(path)}
    if not (found.get("RAY_AUTH_TOKEN") or found.get("RAY_AUTH_TOKEN_PATH")):
        found["RAY_AUTH_MODE"] = "disabled"
    return found


def arguments(config: CollectionConfig, temporary: str) -> dict[str, Any]:
    """Of `ray.init`.

    Args:
        temporary: folder for sockets and logs of a cluster that is started. Its path must be short: sockets allow 107 characters.
    """
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if config.address:
        return quiet | {"address": config.address}
    return quiet | {
        "address": "local",
        "num_cpus": machine.threads(config.workers),
        "num_gpus": 0,
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "_node_ip_address": "127.0.0.1",  # nobody but this machine reaches it
        "_temp_dir": temporary,
    }
