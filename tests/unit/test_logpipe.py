"""Log lines that nobody reads do not stop a process."""

import fcntl
import logging
import os
import re
import socket
import sys
import threading
import time

import pytest

from redtask import logpipe
from redtask.logpipe import PipeHandler

#: The smallest pipe.
SIZE = 4096


@pytest.fixture
def log(monkeypatch):
    """Return what makes a logger that writes to a stream."""
    monkeypatch.setattr(logpipe, "_PATIENCE", 0.02)
    made = []

    def make(stream):
        handler = PipeHandler(stream)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger = logging.Logger("test")  # noqa: LOG001 - of this test only
        logger.addHandler(handler)
        made.append(handler)
        return logger

    yield make
    for handler in made:
        handler.close()


@pytest.fixture(params=["pipe", "socket"])
def ends(request):
    """Return both ends of a pipe or socket: a descriptor to read, a stream to write."""
    if request.param == "pipe":
        source, target = os.pipe()
        fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, SIZE)
    else:
        one, other = socket.socketpair()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SIZE)
        source, target = other.detach(), one.detach()
    with os.fdopen(target, "w") as stream:
        yield source, stream
    os.close(source)


def read(source):
    """Read what is there."""
    os.set_blocking(source, False)
    found = b""
    try:
        while data := os.read(source, 65536):
            found += data
    except BlockingIOError:
        os.set_blocking(source, True)
    return found.decode().splitlines()


def test_lines_that_nobody_reads_are_dropped_and_counted(log, ends):
    source, stream = ends
    logger = log(stream)
    begun = time.monotonic()
    for number in range(2000):
        logger.info("line %d", number)

    lasted = time.monotonic() - begun
    first = read(source)
    logger.info("goes on")
    then = read(source)

    assert lasted < 5
    assert os.get_blocking(stream.fileno())
    assert first == [f"INFO line {number}" for number in range(len(first))]
    assert then[-1] == "INFO goes on"
    (dropped,) = [
        int(one) for one in re.findall(r"WARNING .* (\d+) of", "\n".join(then))
    ]
    assert 0 < len(first) < 2000
    assert len(first) + dropped == 2000


def test_a_line_of_which_the_beginning_is_written_is_not_broken(log, ends):
    source, stream = ends
    logger = log(stream)
    logger.info("a" * 100_000)
    logger.info("dropped")

    found = ""
    while "next" not in found:
        found += "\n".join(read(source))
        logger.info("next")

    assert found.replace("\n", "").startswith(
        f"INFO {'a' * 100_000}WARNING the log was not read: "
    )


def test_a_child_does_not_say_again_what_its_parent_has_to_say(log, ends, monkeypatch):
    source, stream = ends
    logger = log(stream)
    logger.info("a" * 100_000)
    logger.info("dropped")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    while read(source):
        pass

    logger.info("of the child")

    assert read(source) == ["INFO of the child"]


def test_a_reader_that_is_only_slow_gets_all(log, ends, monkeypatch):
    source, stream = ends
    monkeypatch.setattr(logpipe, "_PATIENCE", 30.0)
    logger = log(stream)
    found = []

    def slowly():
        while data := os.read(source, 1000):
            found.append(data)

    reader = threading.Thread(target=slowly)
    reader.start()
    for number in range(3000):
        logger.info("line %d", number)
    logger.handlers[0].close()
    stream.close()
    reader.join(30)

    lines = b"".join(found).decode().splitlines()
    assert lines == [f"INFO line {number}" for number in range(3000)]


def test_a_reader_that_is_gone_is_no_error(log, ends, capsys):
    source, stream = ends
    logger = log(stream)
    logger.info("read")
    os.dup2(os.open(os.devnull, os.O_RDONLY), source)

    logger.info("never read")

    assert capsys.readouterr() == ("", "")


def test_a_file_and_what_is_no_file_are_written_to_as_by_python(log, tmp_path, capsys):
    path = tmp_path / "log"
    path.write_text("before\n")
    with path.open("a") as file:
        log(file).info("a line")
    log(sys.stdout).info("a line")

    assert path.read_text() == "before\nINFO a line\n"
    assert capsys.readouterr().out == "INFO a line\n"


def test_nothing_is_written_to_what_has_got_its_number(log, ends, tmp_path):
    source, stream = ends
    logger = log(stream)
    logger.info("first")
    path = tmp_path / "data"
    with path.open("wb") as file:
        # A task has closed all files that it did not know, and opened one.
        os.dup2(file.fileno(), logger.handlers[0]._own)

        logger.info("second")

    assert read(source) == ["INFO first", "INFO second"]
    assert path.read_bytes() == b""


def test_a_stream_that_is_redirected_later_is_followed(log, ends, tmp_path):
    source, stream = ends
    logger = log(stream)
    logger.info("there")
    target = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(target, stream.fileno())
    os.close(target)

    logger.info("here")

    assert read(source) == ["INFO there"]
    assert (tmp_path / "log").read_text() == "INFO here\n"


@pytest.mark.parametrize("ends", ["pipe"], indirect=True)
def test_a_pipe_of_another_user_does_not_stop_us_either(log, ends, monkeypatch):
    source, stream = ends
    # There is room as long as one of its pages is empty.
    fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, 4 * SIZE)
    logger = log(stream)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        for number in range(400):
            logger.warning("%d %s", number, "x" * 100)
    first = read(source)
    logger.warning("again")
    rest = read(source)

    assert first[0] == f"WARNING 0 {'x' * 100}"
    assert len(first) < 400
    assert [*first, *rest][-1] == "WARNING again"
    assert "of its lines are missing here" in [*first, *rest][-2]
