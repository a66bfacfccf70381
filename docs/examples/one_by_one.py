"""Handle each result as soon as it is there, by its id, with all that is known of it.

Results come in the order in which tasks end, whatever the order of submission.
"""

import redtask


def work(count: int, seconds: float) -> tuple[int, float]:
    import time

    print(f"item {count} says hello")
    time.sleep(seconds)
    return count, seconds


with redtask.Client() as rc:
    view = rc.load_balanced_view()
    waits = [0.05, 0.01, 0.03, 0.02, 0.04, 0.0, 0.02, 0.01]
    pending = set(view.map_async(work, range(8), waits, chunksize=2).msg_ids)
    while pending:
        rc.wait(pending, 1e-3)
        finished = pending - rc.outstanding
        pending -= finished
        for task_id in finished:
            result = rc.get_result(task_id)
            about = result.metadata
            took = (about.completed - about.started).total_seconds()
            waited = (about.started - about.submitted).total_seconds()
            print(f"{task_id}: {about.status} on engine {about.engine_id},")
            print(f"  waited for {waited:.3f} s, ran for {took:.3f} s")
            print("  it said:", *about.stdout.splitlines(), sep="\n    ")
            # A task of a map has a list, of as many items as it had.
            for count, seconds in result.get():
                print(f"  item {count}: slept for {seconds} s")
