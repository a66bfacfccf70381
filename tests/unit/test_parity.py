"""Both faces have the same names, and what has one name takes the same arguments."""

from __future__ import annotations

import inspect

import pytest

import redtask
from redtask import aio
from redtask.inbox import TaskSet

#: What only one face can have, or has to be awaited only there; ``flags`` is a plain
#: attribute in the blocking one, which its instances have.
OWN = {"connect", "flags"}
_NONE = object()


def members(owner):
    return {
        name: member
        for name, member in inspect.getmembers(owner)
        if not name.startswith("_") and name not in OWN
    }


def pairs():
    for kind in aio.__all__:
        blocking = members(getattr(redtask, kind))
        for name, member in members(getattr(aio, kind)).items():
            yield pytest.param(blocking.get(name, _NONE), member, id=f"{kind}.{name}")


def test_the_names_are_those_of_the_blocking_face():
    assert set(aio.__all__) <= set(redtask.__all__)
    assert {name: getattr(aio, name).__name__ for name in aio.__all__} == {
        name: name for name in aio.__all__
    }


@pytest.mark.parametrize(("blocking", "awaitable"), list(pairs()))
def test_what_has_one_name_takes_the_same_arguments(blocking, awaitable):
    assert blocking is not _NONE
    if not callable(awaitable) or not callable(blocking):
        return
    if inspect.isclass(awaitable):
        return

    assert plain(awaitable) == plain(blocking)


def plain(function):
    """Return names, kinds and defaults of the parameters."""
    parameters = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in parameters]


@pytest.mark.parametrize("kind", aio.__all__)
def test_they_are_made_with_the_same_arguments(kind):
    assert plain(getattr(aio, kind)) == plain(getattr(redtask, kind))


@pytest.mark.parametrize("name", redtask.__all__)
def test_every_public_name_can_be_looked_up(name):
    public = getattr(redtask, name)

    assert inspect.getdoc(public)
    if callable(public):
        assert inspect.signature(public).parameters is not None


@pytest.mark.parametrize("module", [redtask, aio])
def test_every_public_name_is_there(module):
    for name in module.__all__:
        if name != "Cluster":
            assert getattr(module, name) is not None
    shown = {name for name in dir(module) if not name.startswith("__")}
    assert shown == set(module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


def nowhere(kind):
    """Return one of a kind, which is not connected."""
    client = aio.Client("redis://nowhere")
    if kind == "Client":
        return client
    if kind.endswith("View"):
        return getattr(aio, kind)(client)
    return getattr(aio, kind)(client, TaskSet(("a",)))


@pytest.mark.parametrize(
    "kind", [kind for kind in aio.__all__ if inspect.isclass(getattr(aio, kind))]
)
def test_nothing_that_is_awaited_is_iterated_without_an_end(kind):
    one = nowhere(kind)

    with pytest.raises(TypeError, match="not iterable"):
        iter(one)
    with pytest.raises(TypeError, match=r"not (iterable|a container)"):
        _ = 0 in one


def test_how_to_iterate_what_is_awaited_is_told():
    client = nowhere("Client")

    with pytest.raises(TypeError, match="use 'async for'"):
        list(client)
    with pytest.raises(TypeError, match=r"use 'await view\.gather"):
        list(client[:])
