"""``redtask key``: the keys that sign a hub's work, and their rotation.

The first key of a file signs, all verify. So keys rotate without a gap: the new one is
added everywhere, then it signs, and the old one is dropped once nothing of it is left.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli.group import Group
from redtask.cli.options import Where, confirm, hub_options, output_options, yes_option
from redtask.cli.output import Output, say_json, short_path
from redtask.error import ConnectionLost, KeyRefused, NoHub, NoRedis, UnknownKey
from redtask.spelling import count

if TYPE_CHECKING:
    from redtask.keyfile import Key
    from redtask.profile import Profile


#: The most workers named in a message.
_MOST: Final = 5


@click.group("key", cls=Group)
def command() -> None:
    """Make, show and change the keys that sign a hub's work and results.

    \b
    To change a key while everything runs:
      1. redtask key new --add      here; copy the key file to all machines, and
                                    restart workers and clients one after the other
      2. redtask key rotate         here: the new key signs, the old one verifies;
                                    copy and restart again
      3. redtask key drop ID        when what the old one signed is no longer needed
    """


@command.command("new")
@click.option("--add", is_flag=True, help="Add it to the key file; it only verifies.")
@hub_options
@output_options
def new(*, add: bool, where: Where, out: Output) -> None:
    """Print a new key, or add it to the key file of the hub.

    Alone it writes nothing: the line is for REDTASK_KEY or a key file. It is not added
    where there is no key yet of a hub that has one: copy that first.

    \b
    redtask key new
    redtask key new --add
    """
    from redtask.keyfile import Key  # noqa: PLC0415 - not needed for help

    key = Key.new()
    if not add:
        if out.as_json:
            say_json({"key_id": key.kid.hex(), "key": key.text})
        else:
            click.echo(key.text)
        return
    profile = where.profile()
    _check_file(profile)
    if not profile.keys:
        _check_hub(profile)
    _write(profile, (*profile.keys, key))
    _tell(profile, key, "verifies" if profile.keys else "signs", out)


@command.command("ls")
@hub_options
@output_options
def ls(*, where: Where, out: Output) -> None:
    """List the keys that are known here, never the secrets.

    \b
    redtask key ls
    """
    profile = where.profile()
    columns = ("id", "use", "fingerprint")
    rows = [
        (key.kid.hex(), "verifies" if number else "signs", _print_of(key))
        for number, key in enumerate(profile.keys)
    ]
    if out.as_json:
        for row in rows:
            say_json(dict(zip(("key_id", *columns[1:]), row, strict=True)))
    elif rows:
        out.table(columns, rows)
    if not profile.keys and out.for_people:
        what = "no key here" if profile.signed else "signing is off"
        click.echo(f"{what} ({profile.key_source})", err=True)


@command.command("rotate")
@click.option(
    "--to", metavar="ID", help="The key that is to sign; by default the last one."
)
@click.option(
    "--now",
    is_flag=True,
    help="Even if workers do not know it; if there is no other, make a new one.",
)
@hub_options
@output_options
def rotate(*, to: str | None, now: bool, where: Where, out: Output) -> None:
    """Let another key sign; the current one still verifies.

    Whoever does not know the new key yet refuses what it signs, so it has to be
    everywhere before: see 'redtask key --help'. Exit code 5: there is no other key, or
    a worker does not know it. Of clients only you can know.

    \b
    redtask key rotate
    redtask key rotate --to 1f00c0de
    """
    from redtask.keyfile import Key  # noqa: PLC0415

    profile = where.profile()
    keys = list(profile.keys)
    if to is not None:
        chosen = _of_id(keys, to)
    elif len(keys) > 1:
        chosen = keys[-1]
    elif now:
        chosen = Key.new()
    else:
        raise KeyRefused(
            "there is no other key: 'redtask key new --add' makes one; copy the key "
            "file to all machines before it signs (--now: do not wait for that)"
        )
    _check_file(profile)
    if not now:
        name = chosen.kid.hex()
        lack = [one for one, kids in _kids_of_workers(where) if name not in kids]
        _refuse(lack, ("does", "do"), f"not know {name} yet", "(--now: do not wait)")
    _write(profile, (chosen, *(key for key in keys if key.kid != chosen.kid)))
    _tell(profile, chosen, "signs", out)


@command.command("drop")
@click.argument("key_id", metavar="ID")
@click.option("--now", is_flag=True, help="Even if workers still sign with it.")
@yes_option
@hub_options
@output_options
def drop(*, key_id: str, now: bool, yes: bool, where: Where, out: Output) -> None:
    """Forget a key that no longer signs; the hub then demands the other.

    What it signed - waiting tasks, kept results - is refused from then on. Exit code
    5: it is the one that signs, here or on a worker.

    \b
    redtask key drop 1f00c0de
    """
    from redtask.connect import connect  # noqa: PLC0415
    from redtask.hub import calls  # noqa: PLC0415
    from redtask.rekey import rekey  # noqa: PLC0415

    profile = where.profile()
    doomed = _of_id(list(profile.keys), key_id)
    if doomed.kid == profile.keys[0].kid:
        raise KeyRefused(
            f"{doomed.kid.hex()} signs: let another key do that first, with "
            "'redtask key rotate'"
        )
    _check_file(profile)
    if not now:
        name = doomed.kid.hex()
        sign = [one for one, kids in _kids_of_workers(where) if kids[:1] == (name,)]
        _refuse(sign, ("still signs", "still sign"), f"with {name}", "")
    store, keyring = connect(profile)
    try:
        left = sum(store.do(calls.status(0)).states.values())
        confirm(
            f"Refuse from now on what {doomed.kid.hex()} signed, of "
            f"{count(left, 'task')} that the hub has?",
            yes=yes,
        )
        rekey(store, keyring)
    finally:
        store.close()
    _write(profile, tuple(key for key in profile.keys if key.kid != doomed.kid))
    _tell(profile, doomed, "is forgotten", out)


def _check_hub(profile: Profile) -> None:
    """Refuse to make the first key here, which would sign, of a hub that has another.

    Raises ``ConfigurationError``, as for whoever connects without a key.
    """
    from redtask.connect import connect  # noqa: PLC0415

    # A hub that cannot be asked, or is not there yet, may get its key from here.
    with contextlib.suppress(NoHub, NoRedis, ConnectionLost):
        connect(profile, patience=0.0, make=False)[0].close()


def _kids_of_workers(where: Where) -> list[tuple[str, tuple[str, ...]]]:
    """Ask the living workers for the ids of their keys; return these by worker.

    The first of a worker's keys signs. Raises ``KeyRefused`` if one does not answer.
    """
    from redtask import orders  # noqa: PLC0415

    try:
        with where.client() as client:
            session = client._session
            engines = client._run(session.status()).engines
            # One engine of each stands for its worker.
            some = {one.worker: one for one in engines}
            asked = orders.order(session, "keys", list(some.values()))
            answers = client._run(asked)
    except NoHub:
        return []
    except TimeoutError as problem:
        raise KeyRefused(
            f"{problem}; so nobody knows its keys (--now: do not ask)"
        ) from problem
    names = {one.uuid: one.worker for one in some.values()}
    return [(names[one.uuid], one.keys) for one in answers if one.uuid in names]


def _refuse(workers: list[str], verbs: tuple[str, str], what: str, hint: str) -> None:
    """Refuse a change for which workers are not ready."""
    if workers:
        verb = verbs[len(workers) > 1]
        shown = ", ".join(workers[:_MOST]) + (" ..." if len(workers) > _MOST else "")
        raise KeyRefused(
            f"{count(len(workers), 'worker')} {verb} {what}: {shown}; copy the key "
            f"file to them, and restart them {hint}".rstrip()
        )


def _print_of(key: Key) -> str:
    from redtask.signing import Keyring  # noqa: PLC0415

    return Keyring.fingerprint_of(key)


def _of_id(keys: list[Key], name: str) -> Key:
    found = [key for key in keys if key.kid.hex().startswith(name.lower())]
    if len(found) != 1:
        what = "no key here has" if not found else "several keys here begin with"
        raise UnknownKey(f"{what} the id {name!r}: see 'redtask key ls'")
    return found[0]


def _check_file(profile: Profile) -> None:
    """Refuse to change keys that are not in a file."""
    if profile.key_source in {"key", "REDTASK_KEY"}:
        raise KeyRefused(
            f"the keys come from {profile.key_source}: change them there; the first "
            "signs, all verify, separated by commas"
        )
    if not profile.signed:
        raise KeyRefused(f"signing is off ({profile.key_source})")


def _write(profile: Profile, keys: tuple[Key, ...]) -> None:
    _check_file(profile)
    profile.write_keys(keys)


def _tell(profile: Profile, key: Key, use: str, out: Output) -> None:
    name = key.kid.hex()
    if out.as_json:
        about: dict[str, Any] = {
            "key_id": name,
            "use": use,
            "key_file": profile.key_source,
        }
        say_json(about)
    elif out.for_people:
        click.echo(f"key {name} {use} ({short_path(profile.key_source)})")
    else:
        out.table((), [(name, use, profile.key_source)])
