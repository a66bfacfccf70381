"""Handle each result as soon as it is there, by its id."""

import redtask


def work(x: int) -> int:
    import time

    time.sleep(0.01 * x)
    print(f"working on {x}")
    return x + 1


with redtask.Client() as rc:
    view = rc.load_balanced_view()
    pending = set(view.map_async(work, range(8)).msg_ids)
    while pending:
        rc.wait(pending, 1e-3)
        finished = pending - rc.outstanding
        pending -= finished
        for task_id in finished:
            result = rc.get_result(task_id)
            about = result.metadata
            print(f"{task_id} on engine {about.engine_id}: {result.get()}")
            print(f"  it said {about.stdout.strip()!r}")
