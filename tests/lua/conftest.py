"""What raw tests of several scripts begin with."""

import pytest


@pytest.fixture
def started(hub):
    """A hub in which engine e has c-1, its only task, with two retries."""
    hub.submit(1, "c-1", retries=2)
    hub.register(2, "e")
    (hub.work,) = hub.take(3, "e")
    return hub
