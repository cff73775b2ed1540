"""A folder that other machines reach, on a real S3-compatible server: what is read is what was written, and each fault is a
sentence."""

import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ludus.record import s3
from ludus.record.storage import Storage, StorageError, checksum
from ludus.types import LudusError

DATA = bytes(range(256)) * 100
BIG = DATA * 300
"""Goes in several parts."""


def test_objects_come_back_as_they_were(bucket):
    storage = Storage(f"{bucket}/a folder/run-1")
    for name, data in (("shards/a", DATA), ("big", BIG), ("empty", b"")):
        storage.put(name, data)
        assert storage.get(name, checksum(data)) == data
    storage.put("shards/a", b"others")
    with pytest.raises(StorageError, match=r"shards/a has the sha256 .*, not .*; it was cut short or overwritten"):
        storage.get("shards/a", checksum(DATA))
    Storage(f"{bucket}/a folder/run-10").put("shards/a", DATA)
    storage.remove("big")
    storage.remove("big")
    with pytest.raises(StorageError, match=r"cannot read .*/big \(there is no such object\)"):
        storage.get("big")
    storage.remove()
    with pytest.raises(StorageError, match="no such object"):
        storage.get("shards/a")
    assert Storage(f"{bucket}/a folder/run-10").get("shards/a") == DATA
    whole = Storage(bucket)
    whole.put("at-the-top", DATA)
    assert whole.get("at-the-top") == DATA and store_has(bucket, "at-the-top")


def store_has(bucket, name):
    return Storage(bucket).get(name) is not None


def test_each_fault_is_a_sentence(bucket, monkeypatch):
    with pytest.raises(StorageError, match=r"cannot write .* has no bucket 'no-such-bucket': make it"):
        Storage("s3://no-such-bucket/a").put("x", DATA)
    with pytest.raises(StorageError, match=r"cannot read .* has no bucket 'no-such-bucket'"):
        Storage("s3://no-such-bucket/a").get("x")
    for url in ("s3:///folder", "s3://key:secret@bucket/folder", "s3://bucket/a?b"):
        with pytest.raises(LudusError, match="not like s3://bucket/folder") as refused:
            Storage(url)
        assert "secret@" not in str(refused.value)
    with monkeypatch.context() as other:
        other.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(StorageError, match=r"does not take the key: SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"):
            Storage(bucket).put("x", DATA)
        other.setenv("AWS_ACCESS_KEY_ID", "wrong")
        with pytest.raises(StorageError, match="does not take the key: InvalidAccessKeyId"):
            Storage(bucket).get("x")
        other.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(LudusError, match="the environment has no AWS_SECRET_ACCESS_KEY: set it"):
            Storage(bucket)
        other.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(LudusError, match="has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            Storage(bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot write .*http://127.0.0.1:9 does not answer .*start it"):
        Storage(bucket).put("x", DATA)
    assert time.monotonic() - began < 15
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no url")
    with pytest.raises(LudusError, match="AWS_ENDPOINT_URL is 'no url'; give the address"):
        Storage(bucket).put("x", DATA)


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(LudusError, match=r"pip install 'ludus\[s3\]'"):
        Storage("s3://bucket/folder")


class Refusing(BaseHTTPRequestHandler):
    code, message, status = "", "", 403

    def do_PUT(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "RequestTimeTooSkewed", "the clock of this machine differs"),
        (403, "AccessDenied", "says AccessDenied: of no use"),
        (403, "ExpiredToken", "does not take the key: ExpiredToken"),
        (507, "InsufficientStorage", "says InsufficientStorage"),
    ],
)
def test_what_a_server_says_is_told(monkeypatch, status, code, said):
    pytest.importorskip("obstore")
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("One", (Refusing,), {"status": status, "code": code, "message": "of no use"})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(StorageError, match=said):
        Storage("s3://bucket/folder").put("x", DATA)
    server.shutdown()


def test_a_server_that_comes_back_is_waited_for(own_store, caplog):
    own_store.start()
    own_store.ask("PUT", "/kept")
    storage = Storage("s3://kept/run", patience_s=60)
    storage.put("before", DATA)
    own_store.kill()
    put = threading.Thread(target=storage.put, args=("meanwhile", BIG))
    put.start()
    time.sleep(1)
    assert put.is_alive()
    own_store.start()
    put.join(60)
    assert storage.get("meanwhile") == BIG and storage.get("before") == DATA
    assert "is tried again for 60 s" in caplog.text and "is there again" in caplog.text
    own_store.kill()
    with pytest.raises(StorageError, match="does not answer"):
        Storage("s3://kept/run", patience_s=0.5).put("later", DATA)


def test_a_server_that_hangs_is_one_that_does_not_answer(bucket, store, monkeypatch):
    monkeypatch.setattr(s3, "SILENT_S", 1)
    storage = Storage(bucket)
    storage.put("before", DATA)
    store.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StorageError, match="does not answer"):
            storage.put("later", DATA)
        with pytest.raises(StorageError, match="does not answer"):
            storage.get("before")
    finally:
        store.signal(signal.SIGCONT)
    assert storage.get("before") == DATA
