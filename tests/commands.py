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
