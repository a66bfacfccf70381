"""The beginning of the tutorial, as written, on every server and both faces."""

from __future__ import annotations

import pytest


@pytest.fixture
def rc(any_place, face):
    client = any_place.client(face)
    any_place.engine()
    any_place.engine()
    return client


def test_a_map_equals_the_builtin_one(rc):
    lview = rc.load_balanced_view()
    lview.block = True

    found = lview.map(lambda x: x**10, range(32), block=True)

    assert found == [x**10 for x in range(32)]


def test_a_call_returns_its_value(rc):
    result = rc.load_balanced_view().apply_async(lambda x, y=0: x - y, 5, y=3)

    assert result.get() == 2
    assert result.get() == 2
    assert result.successful()


def test_functions_are_decorated(any_place):
    client = any_place.client()
    any_place.engine()
    lview = client.load_balanced_view()
    lview.block = True

    @lview.parallel()
    def f(x):
        return 10.0 * x**4

    assert f.map(range(32)) == [10.0 * x**4 for x in range(32)]


def test_results_are_handled_one_by_one(any_place):
    """The example customresult of IPython.parallel's tutorial."""
    rc = any_place.client()
    any_place.engine()
    v = rc.load_balanced_view()

    def sleep_here(count, t):
        return count, t

    counts, times = range(20), [0.001] * 20
    amr = v.map(sleep_here, counts, times, chunksize=2)
    pending = set(amr.msg_ids)
    seen = {}
    while pending:
        rc.wait(pending, 1e-3)
        finished = pending.difference(rc.outstanding)
        pending = pending.difference(finished)
        for msg_id in finished:
            ar = rc.get_result(msg_id)
            assert ar.engine_id == 0
            assert ar.stdout == ""
            seen.update(dict(ar.get()))

    assert seen == dict(zip(counts, times, strict=True))
