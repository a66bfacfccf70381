"""What can be called, and with what, through both faces."""

from __future__ import annotations

import asyncio
import functools
import math
import threading

import pytest

from redtask import error, link
from tests import tasks
from tests.processes import until
from tests.proxies import LossyProxy


class Adder:
    def __init__(self, number):
        self.number = number

    def __call__(self, x):
        return x + self.number


number = 5


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (tasks.double, (4,), 8),
        ("tests.tasks:double", (4,), 8),
        (lambda x: x + number, (1,), 6),
        (functools.partial(tasks.add, 3), (4,), 7),
        (Adder(2), (1,), 3),
        (math.factorial, (20,), math.factorial(20)),
        (int, ("12",), 12),
        (tasks.size_of, (b"x" * 100_000,), 100_000),
        (lambda n: b"x" * n, (100_000,), b"x" * 100_000),
        (lambda x: x(2), (lambda y: y * 3,), 6),
        (lambda: None, (), None),
    ],
)
def test_a_call(view, function, args, expected):
    assert view.apply_async(function, *args).get(10) == expected


def test_every_keyword_is_the_functions(view):
    def show(*args, **kwargs):
        return args, kwargs

    result = view.apply_async(show, 1, f=2, block=3, timeout=4, self=5)

    assert result.get(10) == ((1,), {"f": 2, "block": 3, "timeout": 4, "self": 5})


def test_large_arguments_and_results(view):
    data = b"0123456789" * 500_000

    assert view.apply_async(lambda x: x[::-1], data).get(20) == data[::-1]


def test_many_large_results_are_read_together(view):
    found = view.map_async(lambda n: bytes([n]) * 20_000, range(100), chunksize=1)

    assert found.get(20) == [bytes([n]) * 20_000 for n in range(100)]


@pytest.mark.parametrize("what", [5, None, "double", "a b:c"])
def test_what_cannot_be_called_is_refused(rc, view, what):
    with pytest.raises(TypeError, match=r"callable|not the name of a function"):
        view.apply_async(what)
    with pytest.raises(TypeError):
        view.map_async(what, [1])

    assert rc.history == []


def test_what_cannot_be_pickled_is_refused(rc, view):
    lock = threading.Lock()

    with pytest.raises(error.SerializationError, match="lock"):
        view.apply_async(tasks.double, lock)
    with pytest.raises(error.SerializationError):
        view.apply_async(lambda: lock)
    with pytest.raises(error.SerializationError):
        view.map_async(tasks.double, [1, lock])

    assert rc.history == []


def test_a_map_that_fails_in_the_middle_leaves_nothing_to_run(place, face):
    rc = place.client(face)
    view = rc.load_balanced_view()

    with pytest.raises(error.SerializationError):
        view.map_async(tasks.double, [*range(700), threading.Lock()])

    assert rc.outstanding == set()
    assert {place.record(name)["state"] for name in rc.history} == {"aborted"}


def test_a_payload_over_the_limit_is_refused(place, face):
    place.client().close()
    place.redis.hset(place.keys.root + ":hub", "max_payload", 100_000)
    rc = place.client(face)

    with pytest.raises(error.PayloadTooLarge, match="the limit is 100000") as refused:
        rc.load_balanced_view().apply_async(len, b"x" * 200_000)

    assert str(refused.value).endswith("--max-payload SIZE raises it, up to 512M")
    assert rc.history == []


def test_a_name_that_no_engine_knows_is_the_tasks_error(view):
    with pytest.raises(error.RemoteError, match="no_such_module"):
        view.apply_async("no_such_module:f").get(10)


def test_the_function_may_change_its_mind(view):
    """A function that needs what is not there yet works when it is."""
    scope = {"__name__": "__main__"}
    exec("def f(x): return g(x)", scope)  # noqa: S102 - as a prompt does
    with pytest.raises(error.RemoteError, match="NameError"):
        view.apply_async(scope["f"], 9).get(10)

    scope["g"] = math.sqrt  # type: ignore[assignment]

    assert view.apply_async(scope["f"], 9).get(10) == 3


@pytest.mark.parametrize("what", ["client", "view"])
def test_a_function_that_takes_a_client_along_is_refused_in_words(place, face, what):
    client = place.client(face)
    view = client.load_balanced_view()
    inner = getattr({"client": client, "view": view}[what], "_inner", None)
    taken = inner or {"client": client, "view": view}[what]

    with pytest.raises(error.SerializationError, match="a client does not travel"):
        view.apply_async(lambda: taken)


async def later(x):
    """Return a value, but not at once."""
    await asyncio.sleep(0)
    if x is None:
        raise ValueError("nothing")
    return x


def test_a_coroutine_function_runs_to_its_end(place, face):
    place.engine()
    view = place.client(face).load_balanced_view()

    assert view.apply_async(later, 3).get(10) == 3
    assert view.apply_async(tasks.later, x=3).get(10) == 3
    assert view.map_async(later, [1, 2, 3]).get(10) == [1, 2, 3]
    with pytest.raises(error.RemoteError) as raised:
        view.apply_async(later, None).get(10)
    assert raised.value.ename == "ValueError"
    # Nothing stands before the user's own code.
    assert raised.value.traceback.splitlines()[1].endswith("in later")


def test_the_coroutines_of_a_chunk_run_together(place, face):
    place.engine()
    view = place.client(face).load_balanced_view()

    async def met(number, there=[]):  # noqa: B006 - it is what they share
        there.append(asyncio.Event())
        if len(there) == 3:
            for one in there:
                one.set()
        await there[number - 1].wait()
        return number

    assert view.map_async(met, [1, 2, 3], chunksize=3).get(10) == [1, 2, 3]


def test_a_function_may_return_coroutines_for_some_items_of_a_chunk(place, face):
    place.engine()
    view = place.client(face).load_balanced_view()

    def known_or_asked(number):
        return number if number % 2 == 0 else later(number)

    for items in ([0, 1, 2, 3], [1, 2, 3, 4]):
        assert view.map_async(known_or_asked, items, chunksize=4).get(10) == items


@pytest.fixture
def way(place, tmp_path):
    """Return a proxy in front of the server."""
    way = LossyProxy(tmp_path / "way", place.server.socket)
    yield way
    way.close()


def test_a_task_whose_submit_had_no_reply_does_not_run_again_when_it_is_purged(
    place, way, face, tmp_path, monkeypatch
):
    path = str(tmp_path / "ran")
    other = place.client()
    place.engine()
    other.load_balanced_view().apply_sync(tasks.double, 1)
    other.purge_results("all")
    place.url = f"{way.url}?hub={place.name}"
    view = place.client(face).load_balanced_view()

    def pauses():
        completed = place.keys.ended("completed")
        until(lambda: place.redis.zcard(completed) == 1)
        other.purge_results(place.redis.zrange(completed, 0, -1)[0].decode())
        while True:
            yield 0.0

    monkeypatch.setattr(link, "pauses", pauses)
    way.loses_reply_to = path.encode()
    result = view.apply_async(tasks.note, path)

    with pytest.raises(error.TaskLost):
        result.get(10)
    assert (way.lost, (tmp_path / "ran").read_text()) == (1, "ran\n")
