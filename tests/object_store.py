"""An S3-compatible server of the tests' own: SeaweedFS, one process with its data on the disk of a temporary folder."""

import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

START_S = 60.0
KEY, SECRET, REGION = "ludus", "of-the-tests", "us-east-1"
OTHER_PORTS = 10000
"""SeaweedFS adds this to a port for its own protocol."""
NEEDED = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def program() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


class Store:
    """A server on loopback, which may be killed and started again."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ludus-s3-"))
        self._ports = [_free() for _ in range(4)]
        self.endpoint = f"http://127.0.0.1:{self._ports[-1]}"
        self.environment = dict(zip(NEEDED, (self.endpoint, KEY, SECRET, REGION), strict=True))
        keys = [{"accessKey": KEY, "secretKey": SECRET}]
        who = {"name": "ludus", "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        (self._folder / "s3.json").write_text(json.dumps({"identities": [who]}))
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns once a bucket can be made and written to."""
        master, volume, filer, s3 = self._ports
        (self._folder / "data").mkdir(exist_ok=True)
        where = [
            "-dir=data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",
        ]
        ports = [
            f"-master.port={master}",
            f"-volume.port={volume}",
            "-filer",
            f"-filer.port={filer}",
            "-s3",
            f"-s3.port={s3}",
        ]
        only = [
            "-s3.config=s3.json",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
        ]
        few = ["-volume.max=1000", "-master.volumeSizeLimitMB=64", f"-filer.localSocket={self._folder / 'filer.sock'}"]
        few += [f"-s3.localSocket={self._folder / 's3.sock'}"]
        with (self._folder / "log").open("ab") as log:
            command = [str(program()), "server", *where, *ports, *only, *few]
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while not self._ready():
            log_text = (self._folder / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < until and self._process.poll() is None, log_text
            time.sleep(0.1)

    def _ready(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self.ask("PUT", "/ready") in (200, 409) and self.ask("PUT", "/ready/now", b"1") == 200
        return False

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:  # on busy cores its threads may answer for a while
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()

    def remove(self) -> None:
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    # --- beside ludus -------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: bytes = b"", key: str = KEY) -> int:
        """The status of a request that is signed as Amazon says: PUT /bucket makes one, PUT /bucket/name an object."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[-1], timeout=10)
        try:
            connection.request(method, path, body, _signed(method, path, body, f"127.0.0.1:{self._ports[-1]}", key))
            answer = connection.getresponse()
            self.body = answer.read()
            return answer.status
        finally:
            connection.close()


def _signed(method: str, path: str, body: bytes, host: str, key: str) -> dict[str, str]:
    """Headers of Amazon's signature, version 4."""
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest, names = hashlib.sha256(body).hexdigest(), "host;x-amz-content-sha256;x-amz-date"
    headers = f"host:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{at}\n"
    request = "\n".join((method, path, "", headers, names, digest))
    scope = f"{at[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", at, scope, hashlib.sha256(request.encode()).hexdigest()))
    secret = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    said = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {"x-amz-date": at, "x-amz-content-sha256": digest, "Authorization": said}


def _free() -> int:
    """A port whose partner is free, too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            if port + OTHER_PORTS > 65535:
                continue
            with suppress(OSError), socket.create_server(("127.0.0.1", port + OTHER_PORTS)):
                return port
