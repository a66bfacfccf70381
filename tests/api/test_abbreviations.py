"""Ids that people shorten."""

from __future__ import annotations

import pytest

from redtask import error
from redtask.abbreviation import expand
from tests import tasks


def test_the_beginning_of_a_clients_name_and_a_number_mean_a_task(place):
    view = place.client().load_balanced_view()
    client = view.client
    one, two = (view.apply_async(tasks.double, x).msg_ids[0] for x in (1, 2))
    start = one[:6]

    def means(*names):
        return client._run(expand(client._session.keys, names))

    assert means(one, f"{start}-1", f"{start}-0") == [one, two]
    with pytest.raises(error.AmbiguousTask, match="several tasks"):
        means(start)
    for wrong in (f"{start}-7", "nobody", "*", "a b", ""):
        with pytest.raises(error.UnknownTask, match="no such task"):
            means(wrong)


def test_a_task_in_any_state_is_found(client):
    view = client.load_balanced_view()
    done = view.apply_async(tasks.double, 1)
    done.get()

    (name,) = done.msg_ids

    found = client._run(expand(client._session.keys, [name.partition("-")[0][:5]]))
    assert found == [name]
