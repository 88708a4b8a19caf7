"""The settings of a gateway, checked, and the nginx configuration that is made of them."""

from __future__ import annotations

import argparse
import re
import resource
import socket
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from handler.errors import ConfigurationError
from scripts import CONFIG, PROJECT

TEMPLATE = CONFIG / "nginx.conf"

DOCUMENT = PROJECT / "docs" / "openapi.json"

ANSWER_SECONDS = 30
"""Time limit for an answer; a person has given up by then."""

LOOPBACK = ("127.0.0.1", "::1")
"""Proxies trusted by default: a TLS terminator or a tunnel on this machine."""

EXPLANATION_COST = 7
"""Number of predictions that cost about as much as an explanation (`handler.explanation`); explanations have
the rate of predictions divided by it."""

CONNECTIONS = 70_000
"""Connections open at once where the limit of open files allows. nginx can't count those of an address before
a header is complete, but one address has 64,512 ports at most, and a sixteenth stays free for others: with
less than that nginx closes idle connections."""

_ADDRESS = "an address is host:port, such as 127.0.0.1:8000"
_KEY = r"[A-Za-z0-9_-]{24,128}"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, to listen on or to connect to.

    Raises:
        ConfigurationError: the host isn't a name, an IPv4 address or an IPv6 address in brackets, or the
            port is out of range.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        """Refuse text that nginx would read as more than an address."""
        if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9a-f:]+\]", self.host) or not 1 <= self.port <= 65535:
            raise ConfigurationError(f"{_ADDRESS}, not '{self}'")

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``."""
        host, _, port = text.rpartition(":")
        try:
            return cls(host, int(port))
        except (ValueError, ConfigurationError):
            raise ConfigurationError(f"{_ADDRESS}, not {text!r}") from None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def refuse_taken(self) -> None:
        """Check that a server can listen here.

        Raises:
            ConfigurationError: another process listens here, or the address isn't this machine's.
        """
        with socket.socket(socket.AF_INET6 if self.host.startswith("[") else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host.strip("[]"), self.port))
            except (OSError, OverflowError) as error:
                raise ConfigurationError(f"{self} can't be used: {error}") from None


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """All settings of a gateway.

    Raises:
        ConfigurationError: a value can't be used; the message says which.
    """

    service: Address
    """TorchServe's inference address."""
    listen: Address
    """Where clients connect."""
    others: tuple[Address, ...] = ()
    """Further services that answer the same; a request that one of them can't take goes to another one."""
    readiness: Address | None = None
    """Where `GET /ready` is answered; None for each service's host, five ports up, as in scripts/serve."""
    model: str = "nli"
    """The served model's name in TorchServe's URLs."""
    keys: tuple[str, ...] = ()
    """Clients must send one of these; without any, no key is needed."""
    trusted_proxies: tuple[str, ...] = LOOPBACK
    """Addresses and networks whose X-Forwarded-For names the client."""
    rate: int = 10
    """Requests a second from one address; twice as many may come at once."""
    large_rate: int = 1
    """Requests a second from one address with a body of 1,000 bytes or more; five times as many at once."""
    answer_seconds: int = ANSWER_SECONDS
    """Seconds to wait for an answer before 504."""

    def __post_init__(self) -> None:
        """Check each value, for all of them become part of a configuration file."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.model):
            raise ConfigurationError(
                f"a model's name is letters, digits, '.', '_' and '-', and {self.model!r} isn't"
            )
        if not all(re.fullmatch(_KEY, key) for key in self.keys):
            raise ConfigurationError("a key is 24 to 128 letters, digits, '_' and '-' (openssl rand -hex 32)")
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ConfigurationError(
                    f"a trusted proxy is an address or a network such as 10.0.0.0/8, or none: {error}"
                ) from None
        if self.others and self.readiness:
            raise ConfigurationError(
                "with several services each is asked for readiness five ports up; leave the address out"
            )
        if len({self.service, *self.others}) <= len(self.others):
            raise ConfigurationError("each service can be named once")
        for name in ("rate", "large_rate", "answer_seconds"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise ConfigurationError(f"{name} must be from 1 to 1000000, not {getattr(self, name)}")

    def configuration(self, connections: int) -> str:
        """`config/nginx.conf`, filled in for so many connections."""
        keys = "".join(f'"~^Bearer {key}$" 0; ' for key in self.keys)
        services = (self.service, *self.others)
        probes = (self.readiness or Address(each.host, each.port + 5) for each in services)
        values = {
            "LISTEN": self.listen,
            "SERVICES": " ".join(f"server {each} max_fails=0;" for each in services),
            "READINESS": " ".join(f"server {each} max_fails=0;" for each in probes),
            "MODEL": self.model,
            "ANSWER_SECONDS": self.answer_seconds,
            "KEYS": f"default 1; {keys}" if keys else "",
            "TRUSTED_PROXIES": " ".join(f"set_real_ip_from {each};" for each in self.trusted_proxies),
            "RATE": self.rate,
            "BURST": 2 * self.rate,
            "EXPLANATIONS_A_MINUTE": max(1, 60 * self.rate // EXPLANATION_COST),
            "EXPLANATION_BURST": max(1, 2 * self.rate // EXPLANATION_COST),
            "LARGE_RATE": self.large_rate,
            "LARGE_BURST": 5 * self.large_rate,
            "CONNECTIONS": connections,
            "OPEN_FILES": 2 * connections,
        }
        template = TEMPLATE.read_text(encoding="utf-8")
        return re.sub(r"\$\{([A-Z_]+)\}", lambda name: str(values[name[1]]), template)

    def document(self) -> str:
        """`docs/openapi.json`, with the model's own name in its addresses."""
        return re.sub(r"\bnli\b", self.model, DOCUMENT.read_text(encoding="utf-8"))


def possible_connections() -> int:
    """Connections that the limit of open files allows: each may need a second file, for its body.

    Raises:
        ConfigurationError: it is too low to serve anybody.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS
    if files < 512:
        raise ConfigurationError(f"the gateway needs 512 open files or more (ulimit -Hn is {files})")
    return min(CONNECTIONS, files // 2)


def client_limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `GatewaySettings` that `add_gateway_options` asks for.

    Raises:
        ConfigurationError: the keys can't be used.
    """
    proxies = tuple(arguments.gateway_trusted_proxy or LOOPBACK)
    return {
        "keys": read_keys(arguments.gateway_keys) if arguments.gateway_keys else (),
        "trusted_proxies": () if proxies == ("none",) else proxies,
        "rate": arguments.gateway_rate,
        "large_rate": arguments.gateway_large_rate,
    }


def read_keys(file: Path) -> tuple[str, ...]:
    """Read API keys, one a line; empty lines and lines that begin with # are left out.

    Raises:
        ConfigurationError: the file can't be read or holds no key, or a key is weak or malformed.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the keys can't be read: {error}") from None
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ConfigurationError(f"{file} holds no key")
    for number, line in enumerate(lines, 1):
        if line in keys and not re.fullmatch(_KEY, line):
            raise ConfigurationError(
                f"{file}:{number}: a key is 24 to 128 letters, digits, '_' and '-' (openssl rand -hex 32)"
            )
    return keys
