"""Fixtures for pytest: a hub of each test's own. See ``redtask.testing``.

pytest imports this in every run, also where nothing else of redtask is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redtask.client import Client
    from redtask.testing import Hub


@pytest.fixture
def redtask_hub_options() -> dict[str, Any]:
    """Arguments of the ``Hub``; to be overridden: ``return {"engines": 2}``."""
    return {}


@pytest.fixture
def redtask_hub(redtask_hub_options: dict[str, Any]) -> Iterator[Hub]:
    """A hub in this process, also for clients that the tested code makes."""
    from redtask import testing  # noqa: PLC0415 - it needs fakeredis

    with testing.Hub(**redtask_hub_options) as hub:
        yield hub


@pytest.fixture
def redtask_client(redtask_hub: Hub) -> Iterator[Client]:
    """A client of that hub."""
    with redtask_hub.client() as client:
        yield client
