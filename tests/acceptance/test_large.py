"""What large payloads take of memory, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
