"""Addresses: which ones a crawl may connect to.

Private, loopback, link-local and reserved ones are refused unless the configuration names them. The
addresses that are checked here are the ones that are connected to, so that a name that resolves
differently a moment later (DNS rebinding) gains nothing.
"""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from tasks.crawl.urls import is_public

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PrivateAddressError(Exception):
    """A host that is on no network a crawl may reach."""


@dataclass(frozen=True)
class Allowance:
    """The private places that a crawl may connect to.

    Args:
        everywhere: any of them.
        hosts: these, by name (or address, as URLs spell it), wherever they resolve to.
        networks: addresses in these.
    """

    everywhere: bool = False
    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, everywhere: bool, names: Sequence[str]) -> "Allowance":
        """Tell networks from hosts; a plain address is a network of one."""
        networks = {name: network for name in names if (network := _network(name))}
        hosts = frozenset(name.lower() for name in names if name not in networks)
        return cls(everywhere, hosts, tuple(networks.values()))

    def admits(self, host: str, address: str) -> bool:
        """Whether a crawl may connect to ``address``, to which ``host`` resolved."""
        if self.everywhere or host.lower() in self.hosts:
            return True
        parsed = ipaddress.ip_address(address.strip("[]").partition("%")[0])
        return is_public(parsed) or any(parsed in network for network in self.networks)

    def admits_literal(self, host: str) -> bool:
        """Whether ``host`` is a name, or an address that a crawl may connect to."""
        try:
            return self.admits(host, host)
        except ValueError:  # a name, which the resolver looks up
            return True


class GuardedResolver(AbstractResolver):
    """Resolves names to admitted addresses only, or to where the machine's configuration says."""

    def __init__(self, chosen: Mapping[str, ResolveResult], allowance: Allowance) -> None:
        self._chosen = chosen
        self._allowance = allowance
        self._dns = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of ``host``; PrivateAddressError if it has none that may be connected to."""
        if host in self._chosen:
            return [self._chosen[host]]
        found = await self._dns.resolve(host, port, family)
        admitted = [result for result in found if self._allowance.admits(host, result["host"])]
        if not admitted:
            raise PrivateAddressError(host)
        return admitted

    async def close(self) -> None:
        """Nothing is held."""
        await self._dns.close()


def chosen_address(host: str, address_port: str) -> ResolveResult:
    """Where the machine's configuration says that ``host`` is.

    Raises:
        ValueError: it is not written as ``address:port``.
    """
    address, colon, port = address_port.rpartition(":")
    address = address.strip("[]")
    if not colon or not port.isdigit() or not address:
        raise ValueError(f"connect_to of {host!r} is {address_port!r}; write address:port")
    return ResolveResult(
        hostname=host,
        host=address,
        port=int(port),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST,
    )


def _network(name: str) -> Network | None:
    try:
        return ipaddress.ip_network(name.strip("[]"))
    except ValueError:
        return None
