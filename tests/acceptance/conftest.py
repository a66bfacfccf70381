"""What acceptance tests have in common: processes that must all have ended."""

import os
import uuid

import pytest

from tests.processes import HOUSE, MARK, Land


@pytest.fixture
def land(tmp_path, monkeypatch, real_server):
    """A user of redtask, whose processes must all have ended in the end.

    A real server runs beside; it is older than the mark, and so not of the land.
    """
    for name in os.environ:
        if name.startswith("REDTASK_"):
            monkeypatch.delenv(name)
    mark = uuid.uuid4().hex
    found = Land(tmp_path, mark)
    found.home.mkdir()
    monkeypatch.setenv(MARK, mark)
    monkeypatch.setenv("REDTASK_HOME", str(found.home))
    monkeypatch.setenv("PYTHONPATH", str(HOUSE))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield found
    found.close()
