"""Clusters as tests start and look at them, as real processes."""

import os
import signal
import time
import uuid

from tests.processes import until

KEEPER = r"redtask\.keeper|redtask cluster start"
WORKER = r"-m redtask worker"
REDIS = r"redis-server"


def engine_pids(client, n):
    """Return the process ids of n engines that all have been at work."""
    view = client.load_balanced_view(retries=3)
    found = set()

    def all_seen():
        found.update(view.map_sync(lambda _: os.getpid(), range(4 * n)))
        return len(found) >= n

    until(all_seen, f"{n} engines at work")
    return found


def foreground(land, *words, **options):
    """Start a cluster as on a terminal, and return it with its banner."""
    process = land.start("-m", "redtask", "cluster", "start", *words, **options)
    return process, banner_of(process)


def banner_of(process):
    """Return what a cluster says when it is ready."""
    banner = []
    for line in process.stdout:
        banner.append(line)
        if "stop" in line:
            return "".join(banner)
    raise AssertionError(process.communicate())


def begin_task(client, folder, seconds):
    """Submit a task and return its result when it runs."""
    begun = folder / f"begun-{uuid.uuid4().hex}"

    def work():
        begun.touch()
        time.sleep(seconds)
        return "done"

    result = client.load_balanced_view().apply_async(work)
    until(begun.exists, "the begin of the task")
    return result


def ignoring(*signals):
    """Return how to start a process that ignores signals, as nohup and & do."""
    return {"preexec_fn": lambda: [signal.signal(s, signal.SIG_IGN) for s in signals]}
