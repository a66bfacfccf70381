"""What a server and a fleet say of themselves is judged right."""

import pytest

from redtask import error
from redtask.doctor import fleet, server
from redtask.doctor.finding import NOTE, WRONG
from redtask.doctor.pace import Pace
from redtask.hub.records import EngineStatus, QueueStatus, Status

GOOD = {
    "redis_version": "7.2.4",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "maxmemory": "1000",
    "used_memory": "10",
    "aof_enabled": "1",
    "evicted_keys": "0",
    "aof_last_write_status": "ok",
    "connected_slaves": "0",
}
SETTINGS = {
    "appendfsync": "always",
    "save": "3600 1",
    "timeout": "0",
    "tcp-keepalive": "300",
    "min-replicas-to-write": "0",
    "busy-reply-threshold": "5000",
    "hash-max-listpack-value": "64",
}


def test_of_a_good_server_there_is_nothing_to_say():
    assert server.look(GOOD, SETTINGS) == []


def test_a_server_that_tells_no_settings_is_judged_by_the_rest():
    (found,) = server.look(GOOD, {})

    assert (found.grade, found.code) == (NOTE, "fsync")


@pytest.mark.parametrize(
    ("about", "settings", "grade", "code"),
    [
        ({"redis_version": "6.0.16"}, {}, WRONG, "version"),
        ({"role": "slave"}, {}, WRONG, "replica"),
        ({"maxmemory_policy": "allkeys-lru"}, {}, WRONG, "evicts"),
        ({"evicted_keys": "7"}, {}, WRONG, "evicted"),
        ({"aof_enabled": "0"}, {"save": ""}, WRONG, "forgets"),
        ({"aof_enabled": "0"}, {}, WRONG, "snapshots"),
        ({}, {"appendfsync": "no"}, WRONG, "fsync"),
        ({}, {"appendfsync": "everysec"}, NOTE, "fsync"),
        ({"aof_last_write_status": "err"}, {}, WRONG, "disk"),
        ({"rdb_last_bgsave_status": "err"}, {}, WRONG, "disk"),
        ({"maxmemory": "0"}, {}, NOTE, "unlimited"),
        ({"used_memory": "850"}, {}, NOTE, "filling"),
        ({"used_memory": "960"}, {}, WRONG, "full"),
        ({"connected_slaves": "2"}, {}, NOTE, "failover"),
        ({}, {"timeout": "10"}, WRONG, "timeout"),
        ({}, {"tcp-keepalive": "0"}, NOTE, "keepalive"),
        ({}, {"busy-reply-threshold": "10"}, NOTE, "busy"),
        ({}, {"hash-max-listpack-value": "16"}, NOTE, "compact"),
    ],
)
def test_each_setting_that_hurts_is_told(about, settings, grade, code):
    found = server.look({**GOOD, **about}, {**SETTINGS, **settings})

    assert [(one.grade, one.code) for one in found] == [(grade, code)]
    assert found[0].words


@pytest.mark.parametrize("idle", ["0", "21", "300"])
def test_connections_that_live_longer_than_engines_wait_are_well(idle):
    assert server.look(GOOD, {**SETTINGS, "timeout": idle}) == []


def status(*queues, engines=1, schema=4, drained=0):
    one = [
        EngineStatus(f"u{n}", n, "w", ("default",), 0, 0, 1, 1, n < drained)
        for n in range(engines)
    ]
    there = tuple(QueueStatus(*queue) for queue in queues)
    return Status({"format": f"{schema} pure"}, {}, there, tuple(one))


@pytest.mark.parametrize(
    ("seen", "card", "spoken", "codes"),
    [
        (status(("default", 1, 5)), {}, {}, []),
        (status(("gpu", 0, 5)), {}, {}, ["unserved"]),
        (status(("gpu", 0, 0)), {}, {}, []),
        (status(("gpu", 0, 1, True)), {}, {}, ["unserved", "paused"]),
        (status(("default", 1, 1, True)), {}, {}, ["paused"]),
        (status(("default", 1, 0, True)), {}, {}, []),
        (status(("default", 1, 1), drained=1), {}, {}, ["drained"]),
        (status(("default", 1, 0), drained=1), {}, {}, []),
        (status(("default", 2, 1), engines=2, drained=1), {}, {}, []),
        (status(engines=0), {}, {}, ["nobody"]),
        (status(), {"version": "0.0.9"}, {}, ["version"]),
        (status(), {"offset": "-2500"}, {}, ["clock"]),
        (status(), {"offset": "500"}, {}, []),
        (status(), {"python": "3.9.1"}, {}, ["python"]),
        (status(), {}, {"0.0.9": 3}, ["version"]),
        (status(schema=3), {}, {}, ["earlier"]),
    ],
)
def test_each_trouble_of_a_fleet_is_told(seen, card, spoken, codes):
    workers = {"w": card, "v": {"python": "3.11.2"}}

    assert [one.code for one in fleet.look(seen, workers, spoken)] == codes


class Busy:
    """A Redis that is so busy, by a clock that only pauses move."""

    def __init__(self, share, fields=("user", "sys")):
        self.share, self.fields = share, fields
        self.now = 100.0
        self.asked = 0

    def pause(self, seconds):
        self.now += seconds

    def command(self, *words):
        assert words == ("INFO", "cpu")
        self.asked += 1
        each = self.now * self.share / 2
        told = [f"used_cpu_{name}_main_thread:{each:.6f}" for name in self.fields]
        return "\r\n".join(["# CPU", *told]).encode()


@pytest.fixture
def rested(monkeypatch):
    """Return how long one rests after a call of 0.12 s."""

    def rested(store):
        monkeypatch.setattr("redtask.doctor.pace.time.monotonic", lambda: store.now)
        monkeypatch.setattr("redtask.doctor.pace.time.sleep", store.pause)
        pace = Pace(store)
        pace.rest(0.12)
        begun = store.now
        pace.rest(0.12)
        return store.now - begun

    return rested


@pytest.mark.parametrize(("busy", "rest"), [(0.0, 0.03), (0.2, 0.08), (0.9, 0.18)])
def test_redis_has_the_time_that_others_need(rested, busy, rest):
    store = Busy(busy)

    assert rested(store) == pytest.approx(rest)
    assert store.asked == 2


def test_where_redis_does_not_tell_how_busy_it_is_it_has_most_of_its_time(
    rested, monkeypatch
):
    def refuse(*_):
        raise error.ConfigurationError("the Redis user lacks a right")

    silent, refusing = Busy(0.0, ()), Busy(0.0)
    monkeypatch.setattr(refusing, "command", refuse)

    assert rested(silent) == rested(refusing) == pytest.approx(0.18)
