"""Many calls, submitted batch by batch under numbered ids, so that it can be resumed.

Call number ``n`` is the task ``<name>-<n>``; calls that the hub already knows are not
submitted again. No I/O here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redtask import payload, slices
from redtask.listing import read
from redtask.mint import Mint
from redtask.names import random_name
from redtask.slices import Gate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redtask.flags import Flags
    from redtask.flows import Flow
    from redtask.payload import Function
    from redtask.session import Session


class Job(NamedTuple):
    """One call of a function that engines import by name."""

    #: ``module:name``.
    function: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}


class Bulk:
    """Submits calls under the ids of one name.

    ``name`` is that of an interrupted bulk; None: a new one.
    """

    #: Calls per batch: as many as one script call takes.
    BATCH: Final = 500

    def __init__(self, session: Session, flags: Flags, name: str | None = None) -> None:
        self._session = session
        self._flags = flags
        self._goes_on = name is not None
        self._functions: dict[str, Function] = {}
        #: The part of each id before the number.
        self.name = name or random_name()

    def pack(self, job: Job) -> tuple[Function, bytes]:
        """Return function and arguments as they are sent.

        Raises ``TypeError`` if it is not the name of a function, and
        ``SerializationError``.
        """
        function = self._functions.get(job.function)
        if function is None:
            function = payload.pack_function(job.function)
            self._functions[job.function] = function
        return function, payload.pack_call(job.args, job.kwargs)

    def enter(self, packed: Mapping[int, tuple[Function, bytes]]) -> Flow[list[str]]:
        """Submit calls by number, at most ``BATCH``; return their ids.

        All or none of them enter.
        """
        ids = [f"{self.name}-{number}" for number in packed]
        known: set[str] = set()
        if self._goes_on:
            records = yield from read(self._session.keys, ids, ("state",))
            known = {one for one, it in zip(ids, records, strict=True) if it}
        mint = Mint(self._session.keyring, self._flags)
        tasks = [
            mint.task(one, function, body, mint.waits)
            for one, (function, body) in zip(ids, packed.values(), strict=True)
            if one not in known
        ]
        if tasks:
            pieces = slices.cut(tasks, Gate(self._session.gate))
            yield from self._session.submit(pieces)
        return ids
