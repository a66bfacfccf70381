"""Who has what they wanted may go."""

import asyncio
import time

import redtask
from redtask import aio

ROUNDS = 5


def test_an_asyncio_client_closes_at_once_right_after_a_result(tmp_path, monkeypatch):
    """The reader has just sent its next read, which may swallow a cancellation."""

    monkeypatch.setenv("REDTASK_HOME", str(tmp_path))

    async def closing():
        async with aio.Client() as rc:
            assert await rc.load_balanced_view().map(abs, [-1, -2]) == [1, 2]
            got = time.monotonic()
        return time.monotonic() - got

    with redtask.Cluster(n=1):
        waits = [asyncio.run(closing()) for _ in range(ROUNDS)]

    assert max(waits) < 5
