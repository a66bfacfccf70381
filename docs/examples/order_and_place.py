"""Every kind of ``after`` and ``follow``: what runs, where, and what never can."""

import redtask
from redtask import Dependency


def work() -> str:
    import time

    time.sleep(0.02)
    return "well"


def fail() -> None:
    import time

    time.sleep(0.02)
    raise ValueError("as it must")


def show(what: str, result: redtask.AsyncResult) -> None:
    try:
        result.get()
        print(f"{what:<31} runs on engine {result.engine_id}")
    except redtask.ImpossibleDependency as error:
        print(f"{what:<31} cannot: {error.evalue}")


with redtask.Client() as rc:
    rc.wait_for_engines(2)
    view = rc.load_balanced_view()
    first, second = rc.ids[:2]

    # One engine has seen a success and a failure, another one a success.
    good = view.with_flags(targets=first).apply_async(work)
    bad = view.with_flags(targets=first).apply_async(fail)
    good_too = view.with_flags(targets=second).apply_async(work)

    cases = {
        "after both succeeded": {"after": [good, good_too]},
        "after one of two succeeded": {"after": Dependency([good, bad], all=False)},
        "after both, one failed": {"after": [good, bad]},
        "after both, whatever became": {"after": Dependency([good, bad], failure=True)},
        "after one of two failed": {
            "after": Dependency([good, bad], all=False, success=False, failure=True)
        },
        "after an unknown task": {"after": "nobody-1"},
        "where one ran": {"follow": good},
        "where one failed": {"follow": Dependency(bad, success=False, failure=True)},
        "where both ran": {"follow": [good, good_too]},
        "where one of two ran": {"follow": Dependency([good, good_too], all=False)},
        "where one ran, after another": {"follow": good, "after": good_too},
        "where one ran, but elsewhere": {"follow": good, "targets": second},
        "soon, or not at all": {"after": good, "timeout": 10},
    }
    results = {}
    for what, flags in cases.items():
        with view.temp_flags(**flags):
            results[what] = view.apply_async(work)
    for what, result in results.items():
        show(what, result)

    # Failure goes on from task to task, but a task that waits for failure runs.
    with view.temp_flags(after=results["after both, one failed"]):
        behind = view.apply_async(work)
    with view.temp_flags(after=Dependency(behind, success=False, failure=True)):
        cleaning = view.apply_async(work)
    show("after what never could run", behind)
    show("after that has failed", cleaning)

    assert results["where one ran"].engine_id == first
    assert results["where one ran, after another"].engine_id == first
