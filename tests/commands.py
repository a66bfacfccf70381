"""``redtask`` in the test's own process, against a hub of the test's."""

from __future__ import annotations

import json

from click.testing import CliRunner

from redtask.cli import group


class Command:
    """Runs commands on one hub."""

    def __init__(self, url, key):
        self.environment = {"REDTASK_URL": url, "REDTASK_KEY": key, "NO_COLOR": "1"}

    def __call__(self, *words, stdin=None, **environment):
        """Run a command to its end; return how it ended."""
        return CliRunner().invoke(
            group,
            [str(word) for word in words],
            input=stdin,
            env={**self.environment, **environment},
        )

    def well(self, *words, stdin=None):
        """Run a command that must go well; return its lines, in fields."""
        done = self(*words, stdin=stdin)
        assert done.exit_code == 0, (done.output, done.exception)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def objects(self, *words, code=0):
        """Run a command with ``--json``; return its objects."""
        done = self(*words, "--json")
        assert done.exit_code == code, (done.output, done.exception)
        return [json.loads(line) for line in done.stdout.splitlines()]


#: Words for every command about an existing hub; task and engine need not exist.
OF_HUBS = [
    "abort a-1", "configure", "configure --hwm 3", "doctor", "doctor --repair",
    "engine drain 0", "engine ls", "engine restart 0", "engine restart --worker w",
    "engine resume 0", "engine show 0", "engine stack 0", "engine stop 0", "events",
    "graph a-1", "logs a-1", "logs a-1 -f", "ls", "purge a-1", "queue ls",
    "queue pause q", "queue resume q", "replay a-1", "result a-1",
    "result a-1 --python", "show a-1", "show a-1 --arguments", "status", "timeline",
    "why a-1",
]  # fmt: skip
#: Commands that make the hub if there is none.
THAT_MAKE_HUBS = ["submit math:sqrt 4", "worker"]
#: Of those of other things: words, and the exit code where there is nothing at all.
OF_OTHERS = {
    "cluster clean": 0,
    "cluster engines": 3,
    "cluster list": 0,
    "cluster status": 3,
    "cluster stop": 3,
    "completion bash": 0,
    "config show": 0,
    "init redis://127.0.0.1:1": 69,
    "key drop 00000000": 3,
    "key ls": 0,
    "key new": 0,
    "key rotate": 5,
    "key rotate --to 00000000": 3,
}
#: It would start something.
NOT_RUN = ["cluster start"]
