"""A script that was written for ipyparallel. Its import is all that was changed.

It was ``import ipyparallel as ipp``, and with that it still runs there.
"""

import redtask as ipp

rc = ipp.Client()
rc.wait_for_engines(2)
view = rc.load_balanced_view()
print("engines:", len(rc.ids), "and nothing is outstanding:", rc.outstanding == set())


# Calls and maps.

view.block = True
assert view.apply(pow, 2, 5) == 32
assert view.map(lambda x: x**10, range(32)) == [x**10 for x in range(32)]
view.block = False


@view.parallel(block=True)
def cube(x: int) -> int:
    return x**3


@view.remote(block=True)
def process() -> int:
    import os

    return os.getpid()


assert cube.map(range(8)) == [x**3 for x in range(8)]
assert process() > 0


# Results as they arrive, and one by one.


def slow_square(x: int) -> int:
    import time

    time.sleep(0.01)
    print("squared", x)
    return x * x


squares = view.map_async(slow_square, range(10), chunksize=2, ordered=False)
assert sorted(squares) == [x * x for x in range(10)]
assert len(squares) == squares.progress == 10
print(f"{squares.serial_time:.2f} s of work took {squares.wall_time:.2f} s")

pending = set(view.map_async(slow_square, range(6)).msg_ids)
while pending:
    rc.wait(pending, 1e-1)
    finished = pending.difference(rc.outstanding)
    pending = pending.difference(finished)
    for msg_id in finished:
        ar = rc.get_result(msg_id)
        print("engine", ar.engine_id, ar.metadata.stdout.strip(), "is", ar.get())


# Functional dependencies.


@ipp.require("json")
def quoted(text: str) -> str:
    return json.dumps(text)  # type: ignore[name-defined] # noqa: F821


def is_process(pid: int) -> bool:
    import os

    return os.getpid() == pid


def where() -> int:
    import os

    return os.getpid()


assert view.apply_sync(quoted, "a") == '"a"'
chosen = process()
there = ipp.depend(is_process, chosen)(where)
assert view.map_sync(ipp.dependent(lambda _: True, is_process, chosen), range(4))
assert {view.apply_sync(there) for _ in range(4)} == {chosen}


# Graph dependencies.

good = view.apply_async(where)
bad = view.apply_async(lambda: 1 / 0)
with view.temp_flags(after=[good], timeout=30):
    later = view.apply_async(where)
with view.temp_flags(follow=good):
    beside = view.apply_async(where)
with view.temp_flags(after=ipp.Dependency([good, bad], all=False)):
    either = view.apply_async(where)
with view.temp_flags(after=ipp.Dependency([bad], success=False, failure=True)):
    cleaning = view.apply_async(where)
with view.temp_flags(after=[good, bad]):
    never = view.apply_async(where)
with view.temp_flags(after="nobody-1"):
    unknown = view.apply_async(where)

assert beside.get() == good.get()
assert all([later.get(), either.get(), cleaning.get()])
assert later.metadata.started > good.metadata.completed
for ar in (bad, never, unknown):
    try:
        ar.get()
    except ipp.RemoteError as error:
        print("as expected:", error.ename)


# Retries, running again, asking the hub.


def fail() -> None:
    raise ValueError("again and again")


with view.temp_flags(retries=1):
    failed = view.apply_async(fail)
try:
    failed.get()
except ipp.error.KernelError as error:
    print("as expected:", error)

again = rc.resubmit(good.msg_ids)
assert again.get()
assert not failed.successful()
assert set(good.msg_ids) <= set(rc.hub_history())
records = rc.db_query({"msg_id": {"$in": good.msg_ids}}, keys=["completed"])
assert records[0]["completed"] is not None
assert rc.queue_status()["unassigned"] == 0
rc.purge_results(good)

view.wait()
rc.close()
print("done")
