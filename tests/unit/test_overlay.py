"""What is laid over packed arguments, which stay pickled."""

from __future__ import annotations

import pytest

from redtask import payload
from redtask.dependency import Ref
from redtask.overlay import Overlay

UNREADABLE = b"a" + b"no pickle"


def add(x, y=1, *rest, z=0):
    return x, y, rest, z


def call(body, function=add, results=None):
    ids, body = payload.unpack_refs(body)
    assert set(ids) <= set(results or ())
    return payload.call(function, body, (results or {}).__getitem__)


def test_nothing_is_unpickled_where_it_is_laid():
    body = payload.lay_over(UNREADABLE, {}, {"y": 2})

    assert body.endswith(UNREADABLE)


def test_a_name_stands_for_an_argument_that_was_given_by_position():
    body = payload.pack_call((1, 2, 3), {"z": 4})

    assert call(payload.lay_over(body, {}, {"y": 9})) == (1, 9, (3,), 4)
    assert call(payload.lay_over(body, {}, {"z": 9})) == (1, 2, (3,), 9)
    assert call(payload.lay_over(body, {}, {"2": 9})) == (1, 2, (9,), 4)


def test_a_name_that_was_not_given_is_given_now():
    assert call(payload.lay_over(payload.pack_call((1,), {}), {}, {"y": 9})) == (
        1,
        9,
        (),
        0,
    )
    assert call(payload.lay_over(b"0", {}, {"x": 1}))[0] == 1


def test_a_position_that_is_not_there_is_refused():
    body = payload.lay_over(payload.pack_call((1,), {}), {}, {"1": 9})

    with pytest.raises(TypeError, match="argument 1 is to be replaced, and there are"):
        call(body)


def test_a_function_without_a_signature_gets_it_by_name():
    body = payload.lay_over(payload.pack_call((), {"a": 1}), {}, {"b": 2})

    assert call(body, dict) == {"a": 1, "b": 2}


def test_a_chunk_of_a_map_has_no_names():
    chunk = payload.pack_chunk(([1, 2],))

    with pytest.raises(ValueError, match="a chunk of a map"):
        payload.lay_over(chunk, {}, {"x": 1})
    assert call(payload.lay_over(chunk, {"a-1": "b-1"}, {}), lambda x: -x) == [-1, -2]


def test_references_mean_the_results_of_others():
    body = payload.pack_call((Ref("a-1"), Ref("a-2")), {})
    moved = payload.lay_over(body, {"a-1": "b-1"}, {})

    assert payload.unpack_refs(moved)[0] == ["b-1", "a-2"]
    assert call(moved, results={"b-1": 10, "a-2": 20})[:2] == (10, 20)


def test_what_was_laid_over_can_be_laid_over_again():
    body = payload.pack_call((Ref("a-1"), Ref("a-2")), {})
    first = payload.lay_over(body, {"a-1": "b-1"}, {"z": 1})
    second = payload.lay_over(first, {"b-1": "c-1", "a-2": "c-2"}, {"z": 2})

    assert payload.unpack_refs(second)[0] == ["c-1", "c-2"]
    assert call(second, results={"c-1": 10, "c-2": 20}) == (10, 20, (), 2)
    assert second.count(b"O") <= first.count(b"O")


def test_no_difference_takes_no_room():
    body = payload.pack_call((1,), {})

    assert payload.lay_over(body, {}, {}) == body
    assert Overlay().pack(body) == body
    assert Overlay.unpack(body) == (Overlay(), body)
