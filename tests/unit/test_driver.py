"""Who drives a flow."""

from __future__ import annotations

import pytest

from redtask.hub import calls
from redtask.store import Driver


class Interrupted:
    """A store during whose calls Ctrl-C is pressed."""

    def do(self, *_, **__):
        raise KeyboardInterrupt


def test_a_flow_that_is_interrupted_is_closed():
    """A shell keeps the traceback, and so the flow, until the next error."""
    closed = []

    def flow():
        try:
            yield calls.sweep()
        finally:
            closed.append(True)

    kept = flow()
    with pytest.raises(KeyboardInterrupt):
        Driver(Interrupted()).run(kept)  # type: ignore[arg-type]

    assert closed
