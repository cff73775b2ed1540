"""What several test files ask pytest for."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """Bits depend on torch's threads."""
    import torch  # most tests have no use for it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
