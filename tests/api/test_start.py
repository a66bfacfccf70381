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
