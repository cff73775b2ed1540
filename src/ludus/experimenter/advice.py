"""What went wrong with a request, in one line, whether it passes, and what to do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from ludus.experimenter.addresses import ADDRESS, is_local
from ludus.experimenter.answers import clean
from ludus.experimenter.ledger import GO_ON

SENT_STATUS = "x-sent-status"
"""Header of an error that was found in an answer: the status with which the server sent it."""
LONGEST = 300
"""Characters of an error that are shown."""
READ = 10 * LONGEST
"""Characters of an error that are looked at: some servers send all back that they got, or pages."""
BROKEN = {
    "ReadError": "the connection broke off before an answer",
    "WriteError": "the connection broke off at the question",
}
"""Errors without words -> what they mean."""
NOT_REACHED = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
"""Errors of the HTTP client before anything was sent."""
PASSING = (408, 409, 425)
"""Besides rate limits and errors of the server: timeout of the request, conflict, too early."""
LACK = re.compile(r"not support|unsupported|requires|exceed", re.IGNORECASE)
LIMIT = re.compile(r"\bmax_completion_tokens\b", re.IGNORECASE)
CREDENTIALS = re.compile(r"\bkey|token|credential|authenticat|expired|sign.?in|log.?in", re.IGNORECASE)
TOO_LONG = (
    "the question is too long for it; lower experimenter.exemplars or experimenter.max_tokens, set experimenter.facts=false "
    "or experimenter.images=false, or take a model with a longer context"
)
KNOWN = (
    (re.compile(r"max_(completion_)?tokens", re.IGNORECASE), "set experimenter.max_tokens to what it takes"),
    (
        re.compile(r"context (length|size|window)|model length|max_model_len|too[ _](long|large)", re.IGNORECASE),
        TOO_LONG,
    ),
    (
        re.compile(r"\bimages?\b|image_url|multi-?modal|mmproj", re.IGNORECASE),
        "{pictures} pictures were sent; lower experimenter.exemplars (0: only the question's own), set "
        "experimenter.images=false for a model without eyes, or let the server take more",
    ),
    (
        re.compile(r"\btools?\b|tool[_-]|response_format|json_?schema|grammar", re.IGNORECASE),
        "it takes no answer's type in this way; set experimenter.structure to native, tool or prompted",
    ),
    (re.compile(r"temperature", re.IGNORECASE), "set experimenter.temperature to what it takes"),
    (re.compile(r"\bstream", re.IGNORECASE), "answers are not asked for as streams; name another model or server"),
)
"""What servers complain of -> what to do. Local servers may say with status 500 what they `LACK`."""
UNLIKE = (
    (
        re.compile(r"no chat completion|no choices"),
        "see that the address is an OpenAI-compatible server's, most end in /v1, and that nothing else answers in its place",
    ),
    (re.compile(r"WRONG_VERSION_NUMBER|record layer"), "it speaks no TLS: begin its address with http://"),
    (re.compile(r"illegal (status|request) line"), "if it speaks TLS, begin its address with https://"),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED"),
        "name a file with the certificate that signed its own in the environment variable SSL_CERT_FILE, or see what answers "
        "in its place",
    ),
)
"""What comes from something else than was meant -> what to do."""
WRONG_ADDRESS = "no such model there, or a wrong address; name the right one in experimenter.ROLE=..."
PROXY = "see that its proxy is there and lets this through, unset it, or except this host in NO_PROXY"
SURROUNDINGS = (
    (
        re.compile(r"SOCKS|proxy|InvalidURL", re.IGNORECASE),
        ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"),
        "unset it, name an http:// proxy in it, or except this host in NO_PROXY",
    ),
    (
        re.compile(r"SSL|certificate|No such file", re.IGNORECASE),
        ("SSL_CERT_FILE", "SSL_CERT_DIR"),
        "name a file of certificates that exists, or unset it",
    ),
)
"""Of this machine: complaint, environment variables, what to do with them."""


def short(error: BaseException) -> str:
    """One line without what must not be repeated: keys, and thousands of characters."""
    while str(error) == "Connection error." and error.__cause__ is not None:
        error = error.__cause__  # the library's, then what it hides
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    status = (getattr(error, "headers", None) or {}).get(SENT_STATUS) or getattr(error, "status_code", None)
    text = f"{said} ({status})" if said and status else str(getattr(error, "message", None) or error)
    text = clean(text[:READ]) or BROKEN.get(type(error).__name__, type(error).__name__)
    for name, value in os.environ.items():
        if len(value) >= 8 and name.endswith(("_KEY", "_TOKEN", "_SECRET")):
            text = text.replace(value, f"${name}")
    text = re.sub(r"\b(sk|key|Bearer)[-_ ](?=[\w*-]*[\d*])[\w*-]{6,}", r"\1-...", text)  # not 'key provided'
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def known(error: BaseException) -> str | None:
    """What to do about a complaint that no retry helps, if it is one of `KNOWN`."""
    said, status = short(error), getattr(error, "status_code", 0)
    if status not in (400, 413, 415, 422) and not (status in (500, 501) and LACK.search(said)):
        return None
    return next((advice for complaint, advice in KNOWN if complaint.search(said)), None)


def passes(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later."""
    from pydantic_ai import exceptions as e

    if known(error):
        return False
    temporary = (
        e.ModelRateLimitError, e.ModelUnavailableError, e.ModelServerError, e.ModelConnectionError, e.ModelRequestTimeout
    )  # fmt: skip
    status = getattr(error, "status_code", 0)
    if isinstance(error, temporary) or status >= 500 or status in PASSING:
        return True
    # what is no message of the protocol at all was cut off or garbled on the way, or came from a proxy
    return type(error) is e.ModelAPIError or "Invalid response from" in str(error)


def may_be_paid(error: BaseException) -> bool:
    """Whether a server may have answered, and charged for it, though no answer came: not where it said no, and not where it was
    never reached."""
    cause: BaseException | None = error
    while cause is not None and type(cause).__name__ not in NOT_REACHED:
        cause = cause.__cause__
    return cause is None and not getattr(error, "status_code", 0)


def refused(name: str, error: BaseException, pictures: int) -> str:
    """Sentence on a request that no retry helps, of so many pictures."""
    from pydantic_ai import exceptions as e

    if isinstance(error, e.ModelAuthenticationError):
        advice = on_key(name)
        if getattr(error, "status_code", 0) == 403 and not CREDENTIALS.search(short(error)):
            advice = (
                "it allows this to nobody, or not to this account, from here; see what it complains of, and whether "
                f"{key_of(name)} may use this model"
            )
    elif isinstance(error, e.ModelNotFoundError):
        advice = WRONG_ADDRESS
    elif isinstance(error, e.ModelContextWindowExceededError):
        advice = TOO_LONG
    elif isinstance(error, e.ModelQuotaExceededError):
        advice = "the account's quota or credit is used up; top it up"
    else:
        by_status = {405: WRONG_ADDRESS, 407: on_proxy(name)}.get(getattr(error, "status_code", 0))
        advice = known(error) or by_status or "change what it complains of"
        advice = advice.format(pictures=pictures)
    return f"{name} refused: {short(error)}; {advice}; {GO_ON}"


def tired(name: str, error: BaseException, retries: int) -> str:
    """Sentence on a request that kept failing."""
    advice = on_way(name, error) or "see that the server is up, or raise experimenter.timeout_s"
    return (
        f"{name} could not be reached or kept failing, {retries + 1} times: {short(error)}; everything is kept: "
        f"{advice}; {GO_ON}"
    )


def unusable(error: BaseException, messages: Sequence[Any], max_tokens: int, structure: str) -> str:
    """Why no answer of an exchange could be used; `messages` are pydantic-ai's."""
    if any(getattr(m, "finish_reason", None) == "length" for m in messages):
        return f"the answer, thoughts included, did not fit into experimenter.max_tokens={max_tokens}; raise it"
    complaints = [p.content for m in messages for p in m.parts if _is_complaint(getattr(p, "content", None))]
    if complaints:
        found = (f"{'.'.join(map(str, c['loc'])) or 'the answer'}: {c['msg']}" for c in complaints[-1])
        return clean(f"what it answers does not fit: {'; '.join(found)}")[:LONGEST]
    if re.search(r"max(imum output)? retries", str(error)):  # the latter of a tool that it was not offered
        return f"it gives no answer in the way asked for; experimenter.structure={structure} may not suit it"
    return short(error) if hasattr(error, "message") else f"{type(error).__name__}: {short(error)}"


def _is_complaint(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(c, dict) and {"loc", "msg"} <= c.keys() for c in content)


def on_key(name: str) -> str:
    """What to do where a key is not taken."""
    return f"{key_of(name)} is missing, wrong or expired; set it"


def key_of(name: str) -> str:
    """Words for `variable_of`."""
    return f"the environment variable {variable_of(name)}"


def variable_of(name: str) -> str:
    """The environment variable of the key of a model's provider, or of a server."""
    provider = "openai" if ADDRESS.match(name) else name.partition(":")[0]
    return f"{provider.split('-')[0].upper()}_API_KEY"


def on_way(name: str, error: BaseException) -> str | None:
    """What to do about what stands between this machine and a model's server, or in the server's place."""
    from openai import APIConnectionError
    from pydantic_ai.exceptions import ModelConnectionError

    said = short(error)
    meant = next((advice for complaint, advice in UNLIKE if complaint.search(said)), None) or on_surroundings(error)
    return meant or (on_proxy(name) if isinstance(error, APIConnectionError | ModelConnectionError) else None)


def on_proxy(name: str) -> str | None:
    """What to do about the proxy by which a model is reached, if there is one."""
    address = urlsplit(name if ADDRESS.match(name) else "https://")
    if (is_local(name) and address.scheme == "http") or proxy_bypass(address.hostname or ""):
        return None
    variables = (v for n in (f"{address.scheme}_proxy", "all_proxy") for v in (n, n.upper()))
    named = next((v for v in variables if os.environ.get(v)), None)
    return named and f"the environment variable {named} is set; {PROXY}"


def on_surroundings(error: BaseException) -> str | None:
    """What to do about an environment variable of this machine that an error comes from."""
    said = f"{type(error).__name__} {short(error)}"
    for complaint, variables, advice in SURROUNDINGS:
        named = next((v for n in variables for v in (n, n.lower()) if os.environ.get(v)), None)
        if complaint.search(said) and named:  # its value may hold a password
            return f"the environment variable {named} is set; {advice}"
    return None
