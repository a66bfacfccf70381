"""What type checkers know of results: mypy reads this, and it runs as well."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, assert_type

import pytest

import redtask
from redtask import (
    AsyncMapResult,
    AsyncResult,
    Client,
    DirectView,
    aio,
    as_completed,
    depend,
    dependent,
    require,
)
from tests import tasks

if TYPE_CHECKING:
    from concurrent.futures import Future


def half(x: float) -> float:
    return x / 2


def test_results_have_the_type_that_the_function_returns(client: Client):
    view = client.load_balanced_view()
    one = view.apply_async(half, 3)
    many = view.map_async(half, [1, 2])

    assert_type(one, AsyncResult[float])
    assert_type(many, AsyncMapResult[float])
    assert assert_type(one.get(), float) == 1.5
    assert assert_type(one.result(10), float) == 1.5
    assert assert_type(one.r, float) == 1.5
    assert assert_type(many.get(10), list[float]) == [0.5, 1.0]
    assert assert_type(list(many), list[float]) == [0.5, 1.0]
    assert assert_type(list(as_completed([one])), list[AsyncResult[float]]) == [one]
    assert assert_type(view.apply_sync(half, 3), float) == 1.5
    assert assert_type(view.map_sync(half, [3]), list[float]) == [1.5]
    assert assert_type(list(view.imap(half, [3])), list[float]) == [1.5]


async def slowly(x: float) -> str:
    return str(x)


def test_what_a_coroutine_function_returns_in_the_end_is_the_type(client: Client):
    view = client.load_balanced_view()
    many = view.map_async(slowly, [1, 2])

    assert assert_type(view.apply_async(slowly, 3).get(10), str) == "3"
    assert assert_type(view.apply_sync(slowly, 3), str) == "3"
    assert assert_type(many, AsyncMapResult[str]).get(10) == ["1", "2"]
    assert assert_type(list(view.imap(slowly, [1])), list[str]) == ["1"]


def test_maps_of_direct_views_have_the_type_that_the_function_returns(client: Client):
    dv = client[:]
    many = dv.map_async(half, [1, 2])

    assert_type(client[0], DirectView)
    assert assert_type(list(client), list[DirectView])
    assert assert_type(many, AsyncMapResult[float]).get(10) == [0.5, 1.0]
    assert assert_type(dv.map_sync(half, [3]), list[float]) == [1.5]
    assert assert_type(dv.map_sync(slowly, [3]), list[str]) == ["3"]
    assert assert_type(dv.execute("1", block=True), AsyncResult).done()


def test_a_misspelt_name_is_an_error_to_a_type_checker():
    with pytest.raises(AttributeError, match="Clinet"):
        _ = redtask.Clinet  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="Clinet"):
        _ = aio.Clinet  # type: ignore[attr-defined]


def test_names_that_are_not_imported_with_all_are_known_too():
    assert assert_type(redtask.TimeoutError(), TimeoutError).args == ()
    assert_type(redtask.error.TaskLost(), redtask.TaskLost)
    assert redtask.aio.Client is aio.Client


@require("json")
def length(value: list[int]) -> int:
    """Say how long it is as JSON."""
    return len(json.dumps(value))


@depend(bool, 1)
def twice(x: int) -> int:
    return 2 * x


def test_a_decorated_function_keeps_its_types(client: Client):
    view = client.load_balanced_view()

    assert_type(view.apply_async(length, [1]), AsyncResult[int])
    assert assert_type(view.apply_sync(length, [1]), int) == 3
    assert assert_type(twice(2), int) == 4
    plain: dependent = twice
    assert plain(2) == 4


def test_futures_have_the_type_that_the_function_returns(client: Client):
    executor = client.load_balanced_view().executor
    future: Future[float] = executor.submit(half, 3)

    assert assert_type(future.result(), float) == 1.5
    assert assert_type(executor.submit(slowly, 3).result(), str) == "3"
    assert assert_type(executor.submit("operator:neg", 1).result(), Any) == -1
    assert assert_type(list(executor.map(half, [3])), list[float]) == [1.5]
    assert assert_type(list(executor.map(slowly, [3])), list[str]) == ["3"]


def test_results_that_may_be_errors_say_so(client: Client):
    view = client.load_balanced_view()
    many = view.map_async(half, [1], return_exceptions=True)

    assert assert_type(many.get(), list[float | Exception]) == [0.5]
    lazy = view.imap(half, [1], return_exceptions=True)
    assert assert_type(next(lazy), float | Exception) == 0.5


def test_of_what_is_named_nothing_is_known(client: Client):
    view = client.load_balanced_view()
    one: AsyncResult = view.apply_async("operator:neg", 1)

    assert assert_type(one.get(), Any) == -1
    assert assert_type(view.apply_sync("operator:neg", 1), Any) == -1


def test_results_that_are_awaited_have_their_types_too(place):
    place.engine()

    async def main() -> None:
        async with aio.Client(place.url, key=place.key) as rc:
            view = rc.load_balanced_view()
            one = await view.apply_async(half, 3)
            many = await view.map_async(half, [1, 2])
            assert_type(one, aio.AsyncResult[float])
            assert assert_type(await one, float) == 1.5
            assert assert_type(await one.get(timeout=10), float) == 1.5
            assert assert_type([item async for item in many], list[float]) == [0.5, 1.0]
            assert assert_type(await view.apply(half, 3), float) == 1.5
            assert assert_type(await view.map(half, [3]), list[float]) == [1.5]
            assert assert_type(await view.map(slowly, [3]), list[str]) == ["3"]
            kept = await view.map(half, [3], return_exceptions=True)
            assert assert_type(kept, list[float | Exception]) == [1.5]
            assert assert_type(await view.map("math:sqrt", [4]), Any) == [2.0]
            done = [each async for each in aio.as_completed([one])]
            assert assert_type(done, list[aio.AsyncResult[float]]) == [one]
            parts = [part async for part in aio.as_completed(many)]
            assert len(assert_type(parts, list[aio.AsyncResult[list[float]]])) == 2
            own = [part async for part in aio.as_completed(one)]
            assert assert_type(own, list[aio.AsyncResult[Any]]) == [one]
            lazy = view.imap(half, [3])
            assert assert_type([item async for item in lazy], list[float]) == [1.5]
            assert await view.apply(tasks.double, 3) == 6

    asyncio.run(main())
