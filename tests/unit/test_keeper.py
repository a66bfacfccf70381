"""The keeper: what it cannot do at once it does later."""

import selectors
import time

import pytest

from redtask.error import ClusterError
from redtask.keeper.crew import Crew
from redtask.keeper.keeper import Keeper
from redtask.keeper.plan import Plan
from redtask.signals import END_NOW, END_WITH_CLUSTER


def test_a_worker_that_cannot_be_started_again_is_tried_later(monkeypatch, caplog):
    def spawn(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(Crew, "spawn", spawn)
    keeper = Keeper(Plan(engines=1))
    monkeypatch.setattr(keeper, "_settings", dict)
    crew = Crew("w", 1, joined=True, start_at=0.0)
    keeper._crews.append(crew)
    with selectors.DefaultSelector() as keeper._selector:
        for _ in range(2):
            keeper._turn(0.0)

    assert "worker w cannot be started: [Errno 11]" in caplog.text
    assert crew.start_at is not None
    assert crew.start_at > time.monotonic()


def test_a_worker_that_cannot_be_started_for_a_script_ends_nothing_else(monkeypatch):
    def spawn(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Crew, "spawn", spawn)
    keeper = Keeper(Plan(engines=1))
    monkeypatch.setattr(keeper, "_settings", dict)
    monkeypatch.setattr(keeper, "_settled", lambda: 0)

    with pytest.raises(ClusterError, match="Too many open files"):
        keeper._add(2, 30.0)

    assert keeper._crews == []


class Process:
    """A worker's process that goes on whatever it is told."""

    def __init__(self):
        self.told = []

    def send_signal(self, number):
        self.told.append(number)

    def kill(self):
        self.told.append("kill")


@pytest.mark.parametrize("requests", [2, 3])
def test_who_is_asked_twice_at_once_does_not_kill_what_it_has_not_told(requests):
    keeper, told = Keeper(Plan(engines=1)), Process()
    crew = Crew("w", 1, process=told, joined=True)  # type: ignore[arg-type]
    keeper._crews.append(crew)
    with selectors.DefaultSelector() as keeper._selector:
        keeper._ask_to_end("SIGTERM", drain=None)
        for _ in range(requests - 1):
            keeper._ask_to_end("SIGQUIT", drain=0.0)
        keeper._tend_crews()
        keeper._tell_all()
        for _ in range(3):
            keeper._turn(0.0)

    assert told.told == [END_WITH_CLUSTER, END_NOW]
