"""What type checkers know of results: mypy reads this, and it runs as well."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
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
from redtask.executor import TaskFuture
from redtask.hub.why import Why, Whys
from redtask.metadata import METADATA, Fields, Metadata
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
    with pytest.raises(AttributeError, match="Clients"):
        _ = redtask.Clients  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="Clients"):
        _ = aio.Clients  # type: ignore[attr-defined]


def test_a_misspelt_part_of_a_result_is_an_error_to_a_type_checker(client: Client):
    view = client.load_balanced_view()
    one = view.apply_async(half, 3)
    future = view.executor.submit(half, 3)

    with pytest.raises(AttributeError, match="gett"):
        one.gett()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="stauts"):
        _ = one.metadata.stauts  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="results"):
        future.results()  # type: ignore[attr-defined]


def test_metadata_of_one_task_are_one_and_of_a_map_a_list(client: Client):
    view = client.load_balanced_view()
    one = view.apply_async(half, 3)
    many = view.map_async(half, [1])
    many.wait()

    assert_type(one.metadata, Metadata)
    assert_type(many.metadata, list[Metadata])
    assert assert_type(many.metadata[0].submitted, datetime | None) is not None
    assert assert_type(many.metadata[0].progress, float | None) is None
    assert assert_type(many.stdout, list[str]) == [""]
    assert len(assert_type(many.engine_id, list[int | None])) == 1
    assert_type(one.why(), Why)
    assert_type(many.why(), Whys)
    assert str(many.why()[0]) == str(many.why())


def test_each_field_of_the_metadata_has_its_type_also_as_part_of_a_result(
    client: Client,
):
    one = client.load_balanced_view().apply_async(half, 3)
    one.wait()

    assert assert_type(one.msg_id, str) == one.msg_ids[0]
    assert assert_type(one.submitted, datetime | None)
    assert assert_type(one.started, datetime | None)
    assert assert_type(one.completed, datetime | None)
    assert assert_type(one.received, datetime | None)
    assert assert_type(one.engine_id, int | None) is not None
    assert assert_type(one.engine_uuid, str | None)
    assert assert_type(one.status, str | None) == "ok"
    assert assert_type(one.error, Exception | None) is None
    assert assert_type(one.stdout, str) == assert_type(one.stderr, str) == ""
    assert assert_type(one.doing, str) == ""
    assert assert_type(one.label, str | None) is None
    assert assert_type(one.after, list[str]) == assert_type(one.follow, list[str]) == []
    assert assert_type(one.outputs, list[Any]) == []
    assert assert_type(one.data, dict[str, Any]) == {}
    assert assert_type(one.is_broadcast, bool) is False
    assert assert_type(one.is_coalescing, bool) is False
    assert {*Fields.__annotations__, *Metadata.__annotations__} == METADATA


def test_nothing_is_known_of_metadata_that_may_be_one_or_a_list(client: Client):
    view = client.load_balanced_view()
    direct = client[:].apply_async(half, 3)
    again = client.get_result([view.apply_async(half, 3)])
    again.wait()

    assert_type(direct.metadata, Any)
    assert_type(direct.why(), Any)
    assert assert_type(again.stdout, Any) == [""]
    assert assert_type(again.why(), Any)[0].state == "completed"


def test_a_future_has_what_results_have_with_the_same_types(client: Client):
    future = client.load_balanced_view().executor.submit(half, 3)

    assert assert_type(future.get(10), float) == assert_type(future.r, float) == 1.5
    assert assert_type(future.wait(), Any)
    assert assert_type(future.msg_ids, list[str]) == [future.metadata.msg_id]
    assert assert_type(future.metadata, Metadata).status == "ok"
    assert assert_type(future.status, str | None) == "ok"
    assert assert_type(future.progress, int) == 1
    assert assert_type(future.why(), Why).state == "completed"
    assert assert_type(future.ready(), bool)
    assert assert_type(future.successful(), bool)
    assert assert_type(future.elapsed, float) >= 0


def test_results_as_they_are_done_have_their_types(client: Client):
    view = client.load_balanced_view()
    one, many = view.apply_async(half, 3), view.map_async(half, [1])
    future = view.executor.submit(half, 3)

    parts = list(as_completed(many, timeout=10))
    assert assert_type(parts, list[AsyncResult[list[float]]])[0].get() == [0.5]
    assert assert_type(list(as_completed(one)), list[AsyncResult[Any]]) == [one]
    assert assert_type(list(as_completed([one])), list[AsyncResult[float]]) == [one]
    futures = list(as_completed([future]))
    assert assert_type(futures, list[TaskFuture[float]]) == [future]
    assert assert_type(list(as_completed(future)), list[TaskFuture[float]]) == futures


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
            assert assert_type(await one.metadata(), Metadata).status == "ok"
            about = assert_type(await many.metadata(), list[Metadata])
            assert [each.status for each in about] == ["ok", "ok"]
            assert assert_type(await one.why(), Why).state == "completed"
            assert len(assert_type(await many.why(), Whys)) == 2
            again = await rc.get_result([one])
            assert len(assert_type(await again.metadata(), Any)) == 1
            assert len(assert_type(await again.why(), Any)) == 1
            lazy = view.imap(half, [3])
            assert assert_type([item async for item in lazy], list[float]) == [1.5]
            assert await view.apply(tasks.double, 3) == 6

    asyncio.run(main())
