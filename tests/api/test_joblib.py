"""joblib with engines of a hub as its workers."""

from __future__ import annotations

import _thread
import sys

import joblib
import pytest

import redtask
from tests import tasks


@pytest.fixture(autouse=True)
def _backends(monkeypatch):
    """Leave joblib as it was."""
    monkeypatch.setattr(joblib.parallel, "BACKENDS", dict(joblib.parallel.BACKENDS))
    default = joblib.parallel.DEFAULT_BACKEND
    monkeypatch.setattr(joblib.parallel, "DEFAULT_BACKEND", default)


@pytest.fixture
def view(client):
    """Return a view that is a backend of joblib."""
    view = client.load_balanced_view()
    view.register_joblib_backend()
    return view


def doubles(values, **options):
    jobs = (joblib.delayed(tasks.double)(value) for value in values)
    return joblib.Parallel(**options)(jobs)


def nested(values):
    """Compute with joblib inside of a task; also return the backend that it took."""
    backend, _ = joblib.parallel.get_active_backend()
    return doubles(values, n_jobs=2), type(backend).__name__


def interrupt_main():
    """Press Ctrl-C, from another thread than that of the caller."""
    _thread.interrupt_main()


def states(place, view):
    return [place.record(name)["state"] for name in view.history]


def test_a_view_runs_what_joblib_calls(place, view):
    with joblib.parallel_config(backend="redtask"):
        assert doubles(range(40)) == list(range(0, 80, 2))
        assert doubles(range(40), n_jobs=1, batch_size=8) == list(range(0, 80, 2))

    assert set(states(place, view)) == {"completed"}


def test_results_may_be_read_as_they_come(view):
    found = doubles(range(9), backend="redtask", return_as="generator")

    assert next(found) == 0
    assert list(found) == list(range(2, 18, 2))


@pytest.mark.parametrize(
    ("wanted", "jobs"), [(-1, 2), (-2, 1), (-9, 1), (1, 1), (2, 2), (9, 2), (None, 2)]
)
def test_there_are_as_many_jobs_as_engines_or_fewer(view, wanted, jobs):
    backend = joblib.parallel.BACKENDS["redtask"]()

    assert backend.effective_n_jobs(wanted) == jobs


def test_no_jobs_have_no_meaning(view):
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        doubles([1], backend="redtask", n_jobs=0)


def test_an_error_of_a_task_is_raised_as_it_was_and_the_others_are_aborted(
    place, view, gate
):
    calls = [joblib.delayed(tasks.fail)(3)]
    calls += [joblib.delayed(tasks.pass_gate)(str(gate)) for _ in range(3)]

    with pytest.raises(ValueError, match="no 3") as raised:
        joblib.Parallel(backend="redtask", pre_dispatch="all")(calls)

    assert isinstance(raised.value.__cause__, redtask.RemoteError)
    assert "in fail" in raised.value.__cause__.traceback
    gate.touch()
    view.wait()
    first, *others = states(place, view)
    assert (first, set(others)) == ("failed", {"aborted"})


def test_what_cannot_be_sent_is_an_error_at_any_time(view):
    values = [*range(20), (one for one in "abc")]

    with pytest.raises(redtask.error.SerializationError):
        doubles(values, backend="redtask", pre_dispatch=2, batch_size=1)


def test_an_error_that_cannot_be_sent_is_a_remote_one(view):
    jobs = [joblib.delayed(tasks.raise_stubborn)()]

    with pytest.raises(redtask.RemoteError, match="StubbornError"):
        joblib.Parallel(backend="redtask")(jobs)


def test_calls_inside_of_a_task_stay_on_its_engine(view):
    (found,) = joblib.Parallel(backend="redtask")([joblib.delayed(nested)(range(5))])

    assert found == ([0, 2, 4, 6, 8], "ThreadingBackend")
    assert len(view.history) == 1


def test_an_interrupt_aborts_what_was_under_way(place, view, gate):
    calls = [
        joblib.delayed(tasks.pass_gate)(str(gate)),
        joblib.delayed(interrupt_main)(),
    ]

    with pytest.raises(KeyboardInterrupt):
        joblib.Parallel(backend="redtask", pre_dispatch="all")(calls)

    gate.touch()
    view.wait()
    assert states(place, view)[0] == "aborted"


def test_a_view_may_have_another_name_and_be_meant_by_default(client):
    view = client.load_balanced_view()

    redtask.register_joblib_backend("mine", make_default=True, view=view)

    assert doubles([1, 2]) == [2, 4]
    assert len(view.history) == 2


def test_without_a_view_the_newest_client_is_meant_or_one_is_made(
    place, client, monkeypatch
):
    monkeypatch.setenv("REDTASK_URL", place.url)
    monkeypatch.setenv("REDTASK_KEY", place.key)
    redtask.register_joblib_backend()
    make = joblib.parallel.BACKENDS["redtask"]

    assert doubles([1, 2], backend="redtask") == [2, 4]
    assert make().view.client is client
    client.close()
    with make().view.client as made:
        assert not made.closed
        assert make().view.client is made


def test_without_joblib_it_is_named(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    monkeypatch.delitem(sys.modules, "redtask.backend", raising=False)

    with pytest.raises(ModuleNotFoundError, match="pip install joblib") as raised:
        client.load_balanced_view().register_joblib_backend()
    assert raised.value.name == "joblib"
