"""A Redis at its maxmemory says so cleanly, and drains."""

import pytest

from redtask import error
from redtask.hub import calls
from redtask.hub.calls import Group
from redtask.store import Store
from tests.hubs import ScriptError, error_in, ok, unbegun

LEASE = 15000


@pytest.fixture
def full(hub, server):
    """A busy hub, and a way to fill its Redis to the brim."""
    if not server.real:
        pytest.skip("a fake has no maxmemory")
    hub.submit(1, *[f"c-{n}" for n in range(12)], args=b"x" * 100, retries=1)
    hub.watch(1, "c")
    hub.register(1, "e")
    hub.work = hub.take(1, "e", 4)
    hub.redis.config_set("maxmemory-policy", "noeviction")

    def fill():
        hub.redis.config_set("maxmemory", 1)

    hub.fill = fill
    yield hub
    hub.redis.config_set("maxmemory", 0)


def test_a_full_hub_says_so(full):
    full.fill()

    with pytest.raises(error.HubFull):
        full.submit(2, "c-50")


def test_submit_is_refused_before_anything_is_written(full):
    full.fill()

    with full.refuses(error.HubFull):
        full.submit(2, "c-50", fn="other")

    full.redis.config_set("maxmemory", 0)
    assert full.submit(3, "c-50", fn="other").new == 1


def test_a_submit_that_did_get_in_is_known_when_it_is_sent_again(full):
    full.submit(2, "c-50", "c-51", fn="other")
    full.fill()

    again = full.submit(3, "c-50", "c-51", fn="other")

    assert (again.new, again.known) == (0, 2)
    with full.refuses(error.HubFull):
        full.submit(4, "c-51", "c-52", fn="other")


def test_turns_go_on(full):
    first, second, third, fourth = full.work
    full.fill()

    full.turn(2, "e", 1, ok(first, b"x" * 5000), error_in(second, b"x" * 500))
    full.report(3, "e", unbegun(third))
    assert full.turn_again(4, "e").stale == 0
    full.turn(5, "e", 2, ok(fourth))

    assert full.state(first.task_id) == "completed"
    assert len(full.done("c")) == 2


def test_beats_go_on(full):
    full.register(1, "f")
    full.fill()

    assert full.live(2, "e", "c-0").word == "live"
    assert full.gone(3, "e", "c-0").word == "gone"
    assert full.record("c-0")["deaths"] == "1"


def test_sweeps_go_on(full):
    full.join(1, "f", queues="other")
    for now in range(5000, LEASE + 1, 5000):
        full.live(now, "f")
    full.fill()

    full.sweep(LEASE + 5000)

    assert full.record("c-0")["deaths"] == "1"


def test_what_is_over_is_forgotten(full):
    full.turn(2, "e", 0, ok(full.work[0]))
    full.fill()

    full.sweep(2 + 86_400_000)

    assert full.state(full.work[0].task_id) is None


def test_aborts_go_on(full):
    full.fill()

    assert full.abort(2, "c-11", "c-0") == ["aborted", "running"]


def test_engines_may_join(full):
    full.fill()

    assert full.register(2, "f").engine_id == 1


def test_outcomes_can_be_read(full):
    full.turn(2, "e", 0, ok(full.work[0], b"signed"))
    full.fill()

    (outcome,) = full.watch(3, "", full.work[0].task_id).outcomes

    assert outcome.payload == b"signed"


def test_a_client_without_a_stream_is_told_to_read(full):
    full.fill()

    with full.refuses((error.HubFull, ScriptError), "command not allowed|maxmemory"):
        full.watch(2, "new", "c-0")


def test_a_client_with_a_stream_goes_on_listening(full):
    full.fill()

    assert full.watch(2, "c", "c-0").outcomes[0].state == "running"


def test_a_hub_can_still_be_looked_at(full):
    full.fill()

    assert full.status(2).states["running"] == 4


def test_purges_go_on(full):
    first = full.work[0]
    full.turn(2, "e", 0, ok(first, b"x" * 5000))
    full.fill()

    assert full.purge(3, first.task_id).purged == 1


def test_resubmit_is_refused_before_anything_is_written(full):
    first = full.work[0]
    full.turn(2, "e", 0, ok(first, b"x" * 5000))
    full.fill()

    with full.refuses(error.HubFull):
        full.resubmit(3, (first.task_id, "d-1"))


def test_a_resubmit_that_did_get_in_is_known_when_it_is_sent_again(full):
    first = full.work[0]
    full.turn(2, "e", 0, ok(first))
    full.resubmit(3, (first.task_id, "d-1"))
    full.fill()

    assert full.resubmit(4, (first.task_id, "d-1")) == ["d-1"]


@pytest.fixture
def store(full):
    """A store of the same hub, for calls with parcels."""
    store = Store(full.server.url, full.keys.name)
    yield store
    store.close()


def test_a_large_result_gets_through(full, store):
    work = full.work[0]
    big = b"b" * 50_000
    full.fill()

    turn = store.do(calls.turn("e", None, "", 0, [ok(work, big)], now=3))

    assert (turn.registered, turn.stale) == (True, 0)
    assert full.state(work.task_id) == "completed"
    assert full.redis.get(full.keys.task(work.task_id, "result")) == big


def test_a_submit_with_large_arguments_is_refused_or_known(full, store):
    def submit(task, now):
        group = Group("fn", b"", "fn", {}, [task, b"b" * 50_000])
        return store.do(calls.submit([group], now=now))

    submit("c-50", 2)
    full.fill()

    assert submit("c-50", 3).known == 1
    with full.refuses(error.HubFull):
        submit("c-51", 4)


@pytest.mark.parametrize(
    "call",
    [
        calls.tell("w", b"message", now=2),
        calls.answer("nonce", b"text", now=2),
        calls.configure({"keep_bytes": 1000}, now=2),
        calls.examine([("task", "c-11")], mend=True, now=2),
    ],
    ids=lambda call: call.script,
)
def test_who_operates_it_can_go_on(full, call):
    full.redis.zrem(full.key("ready", "default"), "c-11")
    full.fill()

    full.do(call)

    full.redis.config_set("maxmemory", 0)
    full.do(calls.examine([("task", "c-11")], mend=True, now=2))
