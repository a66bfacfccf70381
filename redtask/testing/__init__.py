"""Tests for programs that use redtask: a hub in the test's own process.

Nothing is started and nothing is faked but Redis itself: the tasks are submitted,
signed, placed, retried and read by the same code and the same scripts as in production,
on `fakeredis <https://fakeredis.readthedocs.io>`_. Tasks run in the thread that waits
for them, one at a time, and time passes when the test says so. ::

    from redtask import testing

    def test_orders_are_shipped():
        with testing.Hub() as hub:
            ar = hub.client().load_balanced_view(retries=1).apply_async(ship, 42)
            assert ar.get() == "shipped"

The pytest fixture ``redtask_hub`` is such a hub. It needs ``redtask[testing]``.
"""

from importlib.util import find_spec

if not (find_spec("fakeredis") and find_spec("lupa")):
    raise ImportError(
        'redtask.testing needs fakeredis and lupa: pip install "redtask[testing]"'
    )

from redtask.testing.engine import EngineDies
from redtask.testing.hub import Hub
from redtask.testing.waiting import Stuck

__all__ = ["EngineDies", "Hub", "Stuck"]
