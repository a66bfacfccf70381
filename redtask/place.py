"""The address of a hub, as pickled for another process: without secrets."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from redtask.address import bare_url
from redtask.profile import Profile


@dataclass(frozen=True, slots=True)
class Place:
    """The hub of a client."""

    #: Name of the client's profile.
    profile: str
    #: Name of the hub.
    hub: str
    #: URL of Redis, without login; None if unknown.
    url: str | None
    #: Was it given as an argument? Otherwise the other process uses its own profile.
    chosen: bool

    @classmethod
    def of(cls, profile: Profile) -> Place:
        """Return the place of a profile's hub."""
        url = None if profile.url is None else bare_url(profile.url)
        return cls(profile.name, profile.hub, url, profile.url_source == "url")

    def is_same(self, other: Place) -> bool:
        """Do both name the same hub of the same Redis?"""
        return (self.hub, self.url) == (other.hub, other.url)

    def url_here(self) -> str | None:
        """Return the URL to connect to in this process; None: the profile's.

        The environment or the profile here takes precedence, as it may know a login, or
        a new address - unless it names another hub. Raises ``ConfigurationError``.
        """
        here = Profile.load(self.profile)
        is_it = here.url is not None and here.hub == self.hub
        if is_it and self.chosen:
            is_it = bare_url(here.url or "") == self.url
        if is_it or self.url is None:
            return None
        mark = "&" if "?" in self.url else "?"
        return f"{self.url}{mark}hub={quote(self.hub, safe='')}"
