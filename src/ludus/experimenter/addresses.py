"""Addresses of OpenAI-compatible servers: which names mean one, whether it is on this machine, what its list of models says."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any
from urllib.parse import urlsplit

from ludus.experimenter.answers import clean
from ludus.types import LudusError

ADDRESS = re.compile(r"https?://")
SECRET = re.compile(r"https?://([^/?#]*@|[^#]*\?)")
"""An address with a user, a password or a query."""
TASK = re.compile(r"/(chat/completions|completions|responses|models|embeddings)/?(#|$)")
"""What a client puts behind a server's address itself."""
LONGEST_WORD, MOST_WORDS = 40, 20
"""Of a list of modalities: characters of one, and how many."""
OLLAMA = "http://localhost:11434/v1"
"""Where Ollama listens unless OLLAMA_BASE_URL says otherwise."""


def address_of(name: str) -> str | None:
    """The address of the server that a model's name means, with '#model': an address, or 'ollama:model'. None for other
    providers' models.

    Raises:
        LudusError: an address that holds a secret, which would be kept with the run; one whose port can be none, or that
            goes on behind what all questions begin with; an OLLAMA_BASE_URL that is none.
    """
    provider, _, model = name.partition(":")
    if provider == "ollama":
        base = os.environ.get("OLLAMA_BASE_URL") or OLLAMA
        if not ADDRESS.match(base):
            raise LudusError(f"OLLAMA_BASE_URL={base!r} is no address; set it to one like {OLLAMA}")
        name = f"{base}#{model}"
    if not ADDRESS.match(name):
        return None
    if SECRET.match(name):
        raise LudusError(
            "leave user, password and query out of a server's address; its key comes from the environment variable "
            f"{'OLLAMA' if provider == 'ollama' else 'OPENAI'}_API_KEY"
        )
    behind = TASK.search(name)
    if behind:
        raise LudusError(f"leave /{behind[1]} out of the address {name}: it is put behind it")
    try:
        urlsplit(name).port  # noqa: B018
    except ValueError as error:
        raise LudusError(f"experimenter {name!r} cannot be used: {error}") from None
    return name


def is_local(address: str) -> bool:
    """Whether a name is an address of this machine or of a private network."""
    if not ADDRESS.match(address):
        return False
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
    return ip.is_private or ip.is_loopback


def modalities(listed: Any, model: str) -> tuple[str, list[str]]:
    """Field of the list of models, and what it says that the model takes; no words where it says nothing. Older servers of
    llama.cpp say it in a list of their own, as `capabilities`."""
    for name, field in (("data", "input_modalities"), ("models", "capabilities")):
        entries = listed.get(name) if isinstance(listed, dict) else None
        entries = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
        for entry in (e for e in entries if model in (e.get("id"), e.get("model")) or len(entries) == 1):
            for part in (entry, entry.get("architecture"), entry.get("meta")):
                said = part.get(field) if isinstance(part, dict) else None
                if isinstance(said, list):
                    return field, [clean(s)[:LONGEST_WORD] for s in said if isinstance(s, str)][:MOST_WORDS]
    return "", []
