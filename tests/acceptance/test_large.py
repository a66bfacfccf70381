"""What large payloads take of memory, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.processes import DEADLINE

pytestmark = pytest.mark.acceptance

PROGRAM = """
import json, os, redtask

def memory(pid, name):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

def growth(pid, before):
    return (memory(pid, "VmHWM") - before) / 1024

SIZE = 16 << 20
with redtask.Cluster(n=1) as rc:
    view = rc.load_balanced_view()
    engine = view.apply_sync(os.getpid)
    view.apply_sync(bytes, bytes(100_000))
    pids = os.getpid(), engine
    before = [memory(pid, "VmRSS") for pid in pids]
    data = os.urandom(SIZE)
    value = view.apply_sync(bytes, data)
    assert value == data
    print(json.dumps([growth(*each) for each in zip(pids, before)]))
"""


def test_16_mebibytes_there_and_back_take_three_times_as_much(home):
    """Of the client what it sends, what it hears, and the value of that."""

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    client, engine = json.loads(done.stdout)
    assert 32 <= client <= 3 * 16 + 3
    assert 16 <= engine <= 3 * 16 + 3


def test_results_that_there_is_no_room_for_make_way_for_new_tasks(own_site):
    worker = own_site.worker("-n", "1")
    results = own_site.view.map_async(lambda _: b"x" * 60_000, range(200))
    results.wait(DEADLINE)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    own_site.configure(keep_bytes=1_000_000)
    used = own_site.redis.info("memory")["used_memory"]
    own_site.redis.config_set("maxmemory", used - 6_000_000)

    result = own_site.view.apply_async(abs, -1)

    own_site.redis.config_set("maxmemory", 0)
    assert own_site.states(result) == ["ready"]
