"""A process that runs the tasks of a floor: ``floor_worker URL MODE``."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks.server import connect

if TYPE_CHECKING:
    from collections.abc import Iterable

TASKS: Final = "floor:tasks"
DONE: Final = "floor:done"
READY: Final = "floor:ready"
GO: Final = "floor:go"
#: Tasks in one round trip of the batched floor.
BATCH: Final = 250


def _run(pickled: bytes) -> bytes:
    function, args = pickle.loads(pickled)
    return pickle.dumps(function(*args), 5)


def single(client: Any) -> None:
    """Run tasks one by one, for ever."""
    while True:
        client.rpush(DONE, _run(client.blpop(TASKS)[1]))


def pipelined(client: Any, name: str, values: Iterable[bytes]) -> None:
    """Push values one by one, in one round trip."""
    with client.pipeline(transaction=False) as pipeline:
        for value in values:
            pipeline.rpush(name, value)
        pipeline.execute()


def batched(client: Any) -> None:
    """Run tasks in batches, for ever."""
    while True:
        popped = client.lpop(TASKS, BATCH) or [client.blpop(TASKS)[1]]
        pipelined(client, DONE, map(_run, popped))


def lists(client: Any) -> None:
    """Run tasks in batches, and push their results in one command, for ever."""
    while True:
        popped = client.lpop(TASKS, BATCH) or [client.blpop(TASKS)[1]]
        client.rpush(DONE, *map(_run, popped))


MODES: Final = {"single": single, "batched": batched, "lists": lists}

if __name__ == "__main__":
    connected = connect(sys.argv[1])
    connected.rpush(READY, 1)
    # All begin together: what is queued already is to be drained by all.
    connected.blpop(GO)
    MODES[sys.argv[2]](connected)
