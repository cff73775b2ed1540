"""A PostgreSQL server of the tests' own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

START_S = 60.0
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "shared_buffers": "16MB"}
"""fsync is for power cuts, and no test cuts the power: a process that is killed leaves what it wrote to the kernel."""


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`; None where there is none."""
    found = shutil.which("initdb")
    here = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4))
    return Path(found).resolve().parent if found else here[-1] if here else None


class Server:
    """A server in a temporary directory, on loopback, which trusts everybody. PostgreSQL refuses to run as root, so root starts
    it as the user that its package made.

    Args:
        of: the server that it is a standby of, by streaming; that must run.
        port: where it listens; 0: where nobody does.
        disk: the folder in which all of it lies; None: that of temporary files.
    """

    def __init__(self, of: "Server | None" = None, port: int = 0, disk: Path | None = None) -> None:
        self._programs = programs()
        assert self._programs is not None
        self._user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="ludus-postgresql-", dir=disk))
        if self._user:
            shutil.chown(self._folder, "postgres")
        with socket.create_server(("127.0.0.1", port)) as free:
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://ludus@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen | None = None
        if of is not None:
            there = ["-h", "127.0.0.1", "-p", of.port, "-U", "ludus", "--write-recovery-conf"]
            assert (
                self._run("pg_basebackup", "-D", self._folder / "data", *there, "-c", "fast", "--no-sync").wait() == 0
            )
            return
        how = ["-U", "ludus", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        self._run("initdb", "-D", self._folder / "data", *how).wait()

    def start(self) -> None:
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._process = self._run("postgres", "-D", self._folder / "data", "-p", str(self.port), *settings)
        engine, until = sa.create_engine(self.url, poolclass=sa.NullPool), time.monotonic() + START_S
        while True:
            try:
                engine.connect().close()
                return
            except sa.exc.OperationalError:
                log = (self._folder / "log").read_text()
                assert time.monotonic() < until and self._process.poll() is None, log
                time.sleep(0.05)

    def followed(self, port: int = 0) -> "Server":
        """A standby that has all that this one confirms, started."""
        standby = Server(self, port)
        standby.start()
        self.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
        self.say("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.say("SELECT pg_reload_conf()")
        self.until("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
        return standby

    def promote(self) -> None:
        """From a standby to a primary, which waits for no other."""
        self.say("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.say("SELECT pg_promote()")

    def say(self, statement: str) -> list[tuple]:
        """What it answers, outside of any transaction."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            found = connection.execute(sa.text(statement))
            return [tuple(row) for row in found] if found.returns_rows else []

    def until(self, statement: str, seconds: float = START_S) -> None:
        """Wait until the answer is true."""
        until = time.monotonic() + seconds
        while not self.say(statement)[0][0]:
            assert time.monotonic() < until, statement
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9` of the server and of every process of it."""
        assert self._process is not None
        children = subprocess.run(["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True).stdout
        for pid in [self._process.pid, *map(int, children.split())]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """An orderly end, which keeps nobody connected."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_S)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def remove(self) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> subprocess.Popen:
        assert self._programs is not None
        command = [str(self._programs / program), *map(str, arguments)]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._user)


@contextmanager
def schema(url: str):
    """The URL of an empty schema of its own."""
    engine, name = sa.create_engine(url), f"test_{uuid.uuid4().hex}"
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    own = engine.url.update_query_dict({"options": f"-csearch_path={name}"})
    yield own.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(name, cascade=True))
    engine.dispose()


class Proxy:
    """A way to a server that can be cut. `cut` sees every message of a client to the server before it goes on, and returns
    'before' or 'after' to end the client's connection before or after the message went on; with `hold` the server is not told.
    """

    def __init__(self, url: str):
        self._target = sa.make_url(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = self._target.set(port=self._listener.getsockname()[1]).render_as_string(hide_password=False)
        self.cut: Callable[[bytes], str | None] = lambda message: None
        self.hold = False
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection((self._target.host, self._target.port))
                threading.Thread(target=self._back, args=(server, client), daemon=True).start()
                threading.Thread(target=self._forth, args=(client, server), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while message := client.recv(1 << 16):
                when = self.cut(message)
                if when:
                    client.shutdown(socket.SHUT_RDWR)
                if when != "before":
                    server.sendall(message)
                if when:
                    break
        if self.hold:
            self._held.append(server)
            return
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while message := server.recv(1 << 16):
                with suppress(OSError):  # the server works on, whoever hears
                    client.sendall(message)
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for server in self._held:
            server.close()
