"""What several test files ask pytest for."""

import os
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


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """The URL of an empty database, which may hold many runs: an SQLite file, or a schema of its own on the server that
    LUDUS_POSTGRESQL names."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.db'}"
        return
    if "LUDUS_POSTGRESQL" not in os.environ:
        pytest.skip("LUDUS_POSTGRESQL is not the URL of a PostgreSQL database to test on (.ci/run makes one)")
    import sqlalchemy as sa

    engine, schema = sa.create_engine(os.environ["LUDUS_POSTGRESQL"]), f"test_{uuid.uuid4().hex}"
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    url = engine.url.update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture(scope="module")
def words():
    """The vocabulary of two blocks."""
    from ludus.worlds.blocks.world import BlocksWorld  # most tests have no use for it

    world = BlocksWorld(2, 1, 1)
    yield world.vocabulary
    world.close()
