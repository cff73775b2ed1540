"""A bucket of an S3-compatible store: whole objects by their names. Where it is and by which keys it is reached say the usual
variables: AWS_ENDPOINT_URL (Amazon's own if not set), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION;
on Amazon's machines the role of the machine gives the keys, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ludus.types import LudusError

T = TypeVar("T")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
KEY, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
OTHER_KEYS = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
CONNECT_S, SILENT_S, REQUEST_S = 5, 120, 3600
"""Timeouts of a connection, of a server that sends nothing, and of one request. Large objects go out in parts of 5 MB, `PARTS`
at a time, and come back in one request: what takes longer is slower than 0.2 MB a second."""
PARTS = 4
RETRY_S = 10
"""For so long a request is repeated at once which the server has not taken or has not answered."""
PASSING = re.compile(r"RequestTimeout|SlowDown|InternalError|ServiceUnavailable|OperationAborted|429|5\d\d")
"""Codes of errors that pass."""


class S3Error(Exception):
    """One sentence on why a bucket cannot be used.

    Attributes:
        passing: it may go well later.
    """

    def __init__(self, why: str, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing


class Bucket:
    """See the module's docstring."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        """
        Args:
            url: s3://BUCKET/FOLDER.

        Raises:
            LudusError: the package is missing, the URL names no bucket, or no key is known.
        """
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise LudusError(f"{url} needs the package obstore; pip install 'ludus[s3]'") from error
        parts = urlsplit(url)
        if not parts.netloc or "@" in parts.netloc or parts.query:
            raise LudusError(
                f"{url.rpartition('@')[2]} is not like s3://bucket/folder; keys are given by {KEY} and {SECRET}"
            )
        self._endpoint = next((environment[name] for name in ENDPOINTS if environment.get(name)), "")
        if self._endpoint and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", self._endpoint):
            raise LudusError(
                f"AWS_ENDPOINT_URL is {self._endpoint!r}; give the address of the server, https://HOST:PORT"
            )
        _check_keys(url, self._endpoint, environment)
        self.root = parts.path.strip("/")
        self._name = parts.netloc
        config: dict[str, Any] = {"region": next((environment[r] for r in REGIONS if environment.get(r)), "us-east-1")}
        if self._endpoint:
            config["endpoint"] = self._endpoint
        try:
            self._store = S3Store(
                self._name,
                config=config,  # type: ignore[arg-type]
                client_options={
                    "allow_http": self._endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=CONNECT_S),
                    "read_timeout": timedelta(seconds=SILENT_S),
                    "timeout": timedelta(seconds=REQUEST_S),
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=RETRY_S)},
            )
        except Exception as error:  # of the package, whose kinds are its own
            raise LudusError(
                f"{url} cannot be used: {_first_line(error)}; AWS_ENDPOINT_URL is {self._endpoint!r}"
            ) from error

    def put(self, path: str, data: bytes) -> None:
        """
        Raises:
            S3Error: it cannot be written.
        """
        self._asked(lambda: self._store.put(path, data, max_concurrency=PARTS))

    def get(self, path: str) -> bytes:
        """
        Raises:
            S3Error: it cannot be read.
        """
        return self._asked(lambda: bytes(self._store.get(path).bytes()))

    def remove(self, path: str, below: bool) -> None:
        """Delete an object, or all whose names begin with `path/`.

        Raises:
            S3Error: they cannot be deleted.
        """
        if not below:
            self._asked(lambda: self._store.delete(path))
            return
        for found in self._asked(lambda: list(self._store.list(f"{path}/"))):
            names = [one["path"] for one in found]
            self._asked(lambda names=names: self._store.delete(names))

    def _asked(self, what: Callable[[], T]) -> T:
        try:
            return what()
        except Exception as error:  # of the package, whose kinds are its own
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> S3Error:
        text, where = str(error), self._endpoint or "Amazon S3"
        code, said = _tag("Code", text), _tag("Message", text)
        status = re.search(r"status code: (\d{3})", text)
        if code == "NoSuchBucket" or "InvalidBucketName" in code:
            return S3Error(f"{where} has no bucket {self._name!r}: make it, or name another", False)
        if code == "RequestTimeTooSkewed":
            return S3Error(f"the clock of this machine differs from that of {where} ({said}): set it", False)
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"):
            return S3Error(f"{where} does not take the key: {code}: {said} Set {KEY} and {SECRET}", False)
        if "169.254.169.254" in text:
            return S3Error(f"no key for {where}: set {KEY} and {SECRET}", False)
        if isinstance(error, FileNotFoundError):
            return S3Error("there is no such object", False)
        if status is not None:
            what = f"{code or status[1]}{': ' + said if said else ''}"
            return S3Error(f"{where} says {what}", bool(PASSING.fullmatch(code) or PASSING.fullmatch(status[1])))
        mend = "start it, or mend AWS_ENDPOINT_URL" if self._endpoint else "mend the network"
        return S3Error(f"{where} does not answer ({_first_line(error).rpartition(' - ')[2]}): {mend}", True)


def _check_keys(url: str, endpoint: str, environment: Mapping[str, str]) -> None:
    """
    Raises:
        LudusError: half a key, or none where no machine's role can give one.
    """
    given = [name for name in (KEY, SECRET) if environment.get(name)]
    if len(given) == 1 or (endpoint and not given and not any(environment.get(name) for name in OTHER_KEYS)):
        missing = " and ".join(name for name in (KEY, SECRET) if name not in given)
        raise LudusError(f"{url} needs a key, and the environment has no {missing}: set it")


def _tag(name: str, text: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found[1].strip() if found else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
