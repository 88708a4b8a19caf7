"""HTTP sessions that send requests to the given address with the given key."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from handler.errors import ConfigurationError


class _Bearer(AuthBase):
    """The given key or none; set on a session, it keeps `~/.netrc` from being read."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def new_session(url: str, token: str | None = None, connections: int = 10) -> requests.Session:
    """A session for requests to the host of `url`.

    Requests to this machine never go through a proxy, which would take users' texts away from it; those to
    other hosts follow the environment (`HTTPS_PROXY`, `NO_PROXY`).

    Raises:
        ConfigurationError: `url` is no address, or the token has characters that no HTTP header can hold.
    """
    try:
        host = urlsplit(url).hostname or ""
    except ValueError as error:
        raise ConfigurationError(f"{url[:150]} is not an address: {error}") from None
    token = token.strip() if token else None
    if token and not (token.isascii() and token.isprintable()):
        raise ConfigurationError("the service's key may hold ASCII letters, digits and signs alone")
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=connections))
    session.mount("https://", HTTPAdapter(pool_maxsize=connections))
    session.auth = _Bearer(token)
    if is_loopback(host):
        session.trust_env = False
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    return session


def is_loopback(host: str) -> bool:
    """True if a name or an address stands for this machine: `localhost`, 127.0.0.0/8, `::1`."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(OSError):  # 127.1 and other short forms, which connect as 127.0.0.1 does
        host = socket.inet_ntoa(socket.inet_aton(host))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified
