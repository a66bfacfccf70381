"""Logs of processes that we start: they stay bounded, and their end is quoted."""

import pytest

from redtask import logfile
from redtask.keeper.log import ClusterLog


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(logfile, "_LONGEST", 100)
    return tmp_path / "cluster.log"


def test_a_log_that_grows_long_is_rotated_under_who_writes_it(path):
    log = ClusterLog()
    log.path, log.look_at = path, 60.0

    with path.open("ab", buffering=0) as file:
        file.write(b"x" * 101)
        log.look_if_due(59.0)
        before = path.stat().st_size
        log.look_if_due(60.0)
        file.write(b"next")

    old = path.with_name("cluster.log.old")
    assert before == 101
    assert path.read_bytes() == b"next"
    assert old.read_bytes() == b"x" * 101
    assert old.stat().st_mode & 0o777 == 0o600
    assert log.look_at == 120.0


def test_a_log_that_is_short_or_gone_is_left_alone(path):
    logfile.bound(path)
    path.write_bytes(b"x" * 100)
    logfile.bound(path)

    assert path.read_bytes() == b"x" * 100
    assert [file.name for file in path.parent.iterdir()] == ["cluster.log"]


def test_a_log_that_somebody_removed_is_as_good_as_empty(path):
    log = ClusterLog()
    log.path = path

    assert log.size == 0
    assert log.tail(0) == ""


def test_the_end_of_a_log_that_was_rotated_meanwhile_is_quoted(path):
    path.write_text("new\n")

    assert logfile.tail(path, 1000).endswith("\n  new")
