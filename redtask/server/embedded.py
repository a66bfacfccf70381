"""A Redis server that belongs to a folder, whoever started it.

It is started on a data folder, or adopted if it is running already, and outlives its
starter. Ownership of the folder is a lock held by the *server process itself*: the
starter acquires it and the server inherits the descriptor, so the kernel releases it
exactly when the server is dead, whoever died before. Two servers on one data folder
would destroy each other's log. `process.json` beside it identifies that process: by
pid, and because pids are reused, by boot and start time.

The folder has `data/` (the append-only file), `redis.log`, `redis.conf` (rewritten at
each start), `redis.sock`, `url` (for clients), `server.json` (which server wrote the
data), `process.json` and `lock`. The data remain when the server stops.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from redtask import files, logfile
from redtask.error import ServerError
from redtask.process import Process
from redtask.server.binary import CHOICE, Binary, find_binary, minor, reads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = logging.getLogger("redtask.cluster")

#: Size of the kernel's `sun_path`, without the terminating zero.
_LONGEST_SOCKET: Final = 103 if sys.platform == "darwin" else 107

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.1

#: Runs before a mortal server: it requests a SIGTERM for when its parent dies (prctl 1,
#: PR_SET_PDEATHSIG, which exec keeps), then checks that this has not happened yet.
_MORTAL: Final = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM), 0, 0, 0)
if os.getppid() != int(sys.argv[1]): sys.exit("who started this server is dead")
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A running embedded server."""

    #: Its process.
    pid: int
    #: Such as `7.0.15`.
    version: str
    #: Its URL, `unix://...`.
    url: str


class EmbeddedServer:
    """The Redis of one folder, whoever started it."""

    def __init__(
        self,
        folder: Path,
        *,
        binary: Path | None = None,
        maxmemory: int | None = None,
        appendfsync: str = "everysec",
        extra: Mapping[str, str] | None = None,
        mortal: bool = False,
    ) -> None:
        """Set the folder and options; nothing happens yet.

        `extra` are further lines of redis.conf. A `mortal` server does not outlive the
        thread that starts it. Options only apply to a start: an adopted server keeps
        its own.
        """
        self.folder = folder.absolute()
        #: True if the last `start()` of this object started the server.
        self.owned = False
        self._binary = binary
        self._mortal = mortal
        self._options = {
            "maxmemory": str(_half_of_memory() if maxmemory is None else maxmemory),
            "appendfsync": appendfsync,
            **(extra or {}),
        }
        self._child: Process | None = None

    def start(
        self, *, timeout: float = 10.0, wait: Callable[[float], None] | None = None
    ) -> str:
        """Start the server or adopt a running one; return its URL once it answers.

        While a server is loading its data, this says so and waits as long as that
        takes. ``wait`` is called for each pause, and may raise to give up.
        """
        self.owned = False
        try:
            files.make_private(self.folder)
            return self._start(_Patience(timeout, wait))
        except OSError as error:
            where = error.filename or self.folder
            raise ServerError(f"{_text(where)}: {error.strerror or error}") from error

    def running(self) -> ServerInfo | None:
        """Return the running server, if any; it may still be loading."""
        record = self._living()
        if record is None or record.process is None:
            return None
        return ServerInfo(record.process.pid, record.version, _url(record.socket))

    def stop(self, timeout: float = 10.0) -> bool:
        """Shut the server down, after it wrote its log; False if none was running."""
        record = self._living()
        if record is None or record.process is None:
            self._tidy()
            return False
        process = record.process
        try:
            # SIGTERM is SHUTDOWN without a connection: it works while the server is
            # loading, out of connections, or has lost its socket.
            process.send(signal.SIGTERM)
        except PermissionError as error:
            raise ServerError(
                f"the server of {self.folder} (pid {process.pid}) belongs to another "
                "user, who has to stop it"
            ) from error
        if not process.wait(timeout):
            raise ServerError(
                f"the server of {self.folder} (pid {process.pid}) was told to stop, "
                f"but has not within {timeout:g} seconds{logfile.tail(self._log, 0)}"
            )
        self._reap()
        self._tidy()
        self.owned = False
        return True

    def _start(self, patience: _Patience) -> str:
        while True:
            lock = self._try_lock()
            if lock is not None:
                try:
                    # Where child processes do not inherit locks (NFS), only the
                    # record keeps us from starting a second server.
                    if self._living() is None:
                        return self._launch(lock, patience)
                finally:
                    os.close(lock)
            record = self._read_record()
            if record is not None:
                answer = _ask(record.socket, patience)
                if answer.ready:
                    return self._adopt(record, answer.pid)
                if answer.loading:
                    patience.hears_of_loading()
            if patience.over:
                raise ServerError(self._why_not_adopted(record))
            patience.pause(None if record is None else record.process)

    def _adopt(self, record: _Record, pid: int) -> str:
        """Adopt a running server, and complete what its starter left undone."""
        if record.process is None:
            record = _Record(record.socket, record.version, Process.of(pid))
            self._write_record(record)
        url = _url(record.socket)
        if not (self.folder / "url").exists():
            files.replace(self.folder / "url", f"{url}\n")
        return url

    def _why_not_adopted(self, record: _Record | None) -> str:
        process = None if record is None else record.process
        if record is None or process is None or not process.alive():
            lock = self.folder / "lock"
            return (
                f"{lock} is held by a process that does not answer, perhaps a child of "
                f"a server that was killed: end it (`fuser {lock}` names it)"
            )
        return (
            f"a server (pid {process.pid}) owns {self.folder} but does not "
            f"answer on {record.socket}{logfile.tail(self._log, 0)}"
        )

    def _launch(self, lock: int, patience: _Patience) -> str:
        binary = find_binary(self._binary)
        version = self._claim_data(binary)
        socket = self._socket()
        config = self.folder / "redis.conf"
        files.replace(config, self._config(socket))
        log_begin = logfile.rotate(self._log)
        # If we die right after this, the next starter knows where to ask.
        self._write_record(_Record(socket, version, None))
        command = [str(binary.path), str(config)]
        if self._mortal:
            command = [sys.executable, "-ISc", _MORTAL, str(os.getpid()), *command]
        process = self._child = _spawn(command, self._log, lock)
        try:
            self._write_record(_Record(socket, version, process))
            self._wait_until_ready(socket, process, log_begin, patience)
            files.replace(self.folder / "url", f"{_url(socket)}\n")
        except BaseException:
            process.end()
            self._reap()
            (self.folder / "process.json").unlink(missing_ok=True)
            raise
        self.owned = True
        return _url(socket)

    def _wait_until_ready(
        self, socket: Path, process: Process, log_begin: int, patience: _Patience
    ) -> None:
        while True:
            answer = _ask(socket, patience)
            if answer.ready:
                return
            if answer.loading:
                patience.hears_of_loading()
            if not process.alive():
                raise ServerError(
                    f"the embedded Redis of {self.folder} did not start"
                    f"{logfile.tail(self._log, log_begin)}"
                )
            if patience.over:
                raise ServerError(
                    f"the embedded Redis of {self.folder} does not answer on {socket}"
                    f"{logfile.tail(self._log, log_begin)}"
                )
            patience.pause(process)

    def _claim_data(self, binary: Binary) -> str:
        """Record which server writes the data from now on, before it starts."""
        data, path = self.folder / "data", self.folder / "server.json"
        files.make_private(data)
        wrote = files.read_json(path)
        product, version = wrote.get("product", "redis"), wrote.get("version")
        if version is None and (data / "appendonlydir").is_dir():
            version = "7.0.0"
        if version is not None and not reads(binary, product, version):
            # Dangerous: 6.2 does not see the log of 7 and starts empty.
            raise ServerError(
                f"the data in {self.folder} was written by {product.title()} "
                f"{version}, which {binary.path} ({binary.product.title()} "
                f"{binary.version}, from {binary.origin}) cannot read: install that "
                f"version or a newer one, or name its program in {CHOICE}"
            )
        if (
            version is None
            or product != binary.product
            or (minor(version) < minor(binary.version))
        ):
            wrote = {"product": binary.product, "version": binary.version}
            files.replace(path, json.dumps(wrote) + "\n")
        return binary.version

    def _config(self, socket: Path) -> str:
        lines = {
            "port": "0",
            "unixsocket": _quoted(socket),
            "unixsocketperm": "700",
            "dir": _quoted(self.folder / "data"),
            "daemonize": "no",
            "loglevel": "notice",
            "logfile": '""',  # standard output, which is redis.log
            "appendonly": "yes",
            "aof-load-truncated": "yes",
            "save": '""',
            # While Redis's child rewrites the log, the first write to each page copies
            # it, and the child takes a processor. A log of this size loads in 5 s.
            "auto-aof-rewrite-min-size": "512mb",
            # Compressing took a quarter to two fifths of the time of rewriting the log,
            # beside which tasks run, and made a fifth less of it.
            "rdbcompression": "no",
            "maxmemory-policy": "noeviction",
            **self._options,
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _socket(self) -> Path:
        """Choose the socket's path, the same after each crash if at all possible."""
        own = self.folder / "redis.sock"
        if len(os.fsencode(own)) <= _LONGEST_SOCKET:
            return own
        record = self._read_record()
        if record is not None and files.is_private(record.socket.parent):
            return record.socket
        name = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()[:16]
        # XDG_RUNTIME_DIR comes last: a logout deletes it while the server stays.
        bases = ["/tmp", os.environ.get("XDG_RUNTIME_DIR", "")]  # noqa: S108 - private
        for base in filter(os.path.isdir, bases):
            folder = Path(base, f"redtask-{os.geteuid()}-{name}")
            with contextlib.suppress(OSError):
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(mode=0o700)
                if not files.is_private(folder):  # somebody else made it
                    folder = Path(tempfile.mkdtemp(prefix="redtask-", dir=base))
                return folder / "redis.sock"
        raise ServerError(
            f"{own}: too long for a socket, and neither /tmp nor XDG_RUNTIME_DIR takes "
            "a short one: set REDTASK_HOME to a shorter folder"
        )

    def _living(self) -> _Record | None:
        """Read the record, if the exact process that it names is alive."""
        self._reap()
        record = self._read_record()
        if record is None:
            return None
        if record.process is not None:
            return record if record.process.alive() else None
        answer = _ask(record.socket, _Patience(1.0))
        if not answer.ready:
            return None
        self._adopt(record, answer.pid)
        return self._read_record()

    def _read_record(self) -> _Record | None:
        return _Record.read(files.read_json(self.folder / "process.json"))

    def _write_record(self, record: _Record) -> None:
        files.replace(self.folder / "process.json", json.dumps(record.as_json()) + "\n")

    def _try_lock(self) -> int | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(self.folder / "lock", flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _tidy(self) -> None:
        """Remove files of use only with a running server, if there is none."""
        if not self.folder.is_dir():
            return
        lock = self._try_lock()
        if lock is None:
            return
        try:
            record = self._read_record()
            if record is not None:
                record.socket.unlink(missing_ok=True)
                if record.socket.parent != self.folder:
                    with contextlib.suppress(OSError):
                        record.socket.parent.rmdir()
            (self.folder / "url").unlink(missing_ok=True)
            (self.folder / "process.json").unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _reap(self) -> None:
        """Reap a dead child, which would otherwise remain a zombie."""
        if self._child is not None and not self._child.alive():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child.pid, os.WNOHANG)
            self._child = None

    @property
    def _log(self) -> Path:
        return self.folder / "redis.log"


@dataclass(frozen=True, slots=True)
class _Record:
    """The contents of `process.json`: the current or last server."""

    #: Its socket.
    socket: Path
    #: Its version.
    version: str
    #: Its process; None between the decision to start it and the start.
    process: Process | None

    @classmethod
    def read(cls, stored: dict[str, Any]) -> _Record | None:
        try:
            pid, birth = stored["pid"], stored["birth"]
            process = None if pid is None else Process(int(pid), str(birth))
            return cls(Path(stored["socket"]), str(stored["version"]), process)
        except (KeyError, TypeError, ValueError):
            return None

    def as_json(self) -> dict[str, object]:
        return {
            "pid": None if self.process is None else self.process.pid,
            "birth": None if self.process is None else self.process.birth,
            "socket": str(self.socket),
            "version": self.version,
        }


class _Patience:
    """A deadline, and increasing pauses between attempts."""

    def __init__(
        self, timeout: float, wait: Callable[[float], None] | None = None
    ) -> None:
        self._timeout = timeout
        self._wait = wait
        self._told = False
        self._pause = _FIRST_PAUSE
        self._deadline = time.monotonic() + timeout

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._deadline

    @property
    def left(self) -> float:
        return max(0.05, self._deadline - time.monotonic())

    def hears_of_loading(self) -> None:
        """Restart the timeout, as the server lives; say once that it takes time."""
        self._deadline = time.monotonic() + self._timeout
        if not self._told:
            self._told = True
            _log.info("Redis is loading its data")

    def pause(self, process: Process | None) -> None:
        """Wait a little, or until the process dies."""
        if self._wait is not None:
            self._wait(self._pause)
        elif process is None:
            time.sleep(self._pause)
        else:
            process.wait(self._pause)
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server on a socket answered."""

    ready: bool = False
    loading: bool = False
    pid: int = 0


def _ask(socket: Path, patience: _Patience) -> _Answer:
    """Ask whether a server answers on a socket and is ready."""
    client = redis.Redis(
        unix_socket_path=str(socket),
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=patience.left,
        socket_timeout=patience.left,
    )
    try:
        client.ping()
        info: Any = client.info("server")
        return _Answer(ready=True, pid=int(info["process_id"]))
    except BusyLoadingError:
        return _Answer(loading=True)
    except RedisError:
        return _Answer()
    finally:
        client.close()


def _spawn(command: list[str], log: Path, lock: int) -> Process:
    """Start the server in a session of its own, with the lock inherited."""
    # Not subprocess, which warns about a child that outlives its object, as this one
    # must. The copy at 10 or above cannot collide with its target descriptor.
    held = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, 10)
    try:
        pid = os.posix_spawn(
            command[0],
            command,
            # It must not see our keys.
            {k: v for k, v in os.environ.items() if not k.startswith("REDTASK_")},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (
                    os.POSIX_SPAWN_OPEN,
                    1,
                    log,
                    os.O_WRONLY | os.O_CREAT | os.O_APPEND,
                    0o600,
                ),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, held, 3),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM],
        )
    finally:
        os.close(held)
    return Process.of(pid) or Process(pid, "dead at birth")


def _url(socket: Path) -> str:
    return f"unix://{quote(os.fsencode(socket))}"


def _half_of_memory() -> int:
    """Return half the memory of this machine, or of this container, in bytes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")
        memory = min(memory, int(limit))
    return memory // 2


def _quoted(path: Path) -> str:
    """Quote a path for redis.conf."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, (bytes, os.PathLike)) else str(name)
