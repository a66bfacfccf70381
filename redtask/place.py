"""Where a hub is, as far as a pickle may tell it to another process: no secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from redtask.profile import Profile

_LOGIN: Final = re.compile(r"://[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Place:
    """The hub of a client."""

    #: Name of the client's profile.
    profile: str
    #: Name of the hub.
    hub: str
    #: URL of Redis, without login; None when nothing said where it is.
    url: str | None
    #: Was it chosen by an argument? Else whoever asks follows his own profile.
    chosen: bool

    @classmethod
    def of(cls, profile: Profile) -> Place:
        """Return where the hub of a profile is."""
        url = None if profile.url is None else _bare(profile.url)
        return cls(profile.name, profile.hub, url, profile.url_source == "url")

    def url_here(self) -> str | None:
        """Return the URL to connect to in this process; None: as its profile says.

        What the environment or the profile says here goes first, as it may know a
        login, or where the hub is by now - unless that is another one. Raises
        ``ConfigurationError``.
        """
        here = Profile.load(self.profile)
        is_it = here.url is not None and here.hub == self.hub
        if is_it and self.chosen:
            is_it = _bare(here.url or "") == self.url
        if is_it or self.url is None:
            return None
        mark = "&" if "?" in self.url else "?"
        return f"{self.url}{mark}hub={quote(self.hub, safe='')}"


def _bare(url: str) -> str:
    return _LOGIN.sub("://", url)
