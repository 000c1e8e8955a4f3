"""Who may ask the viewer for anything: those who know its token and call it by its own name."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_METHODS = ("GET", "HEAD")
# The page runs its own script alone, and nothing leaves this machine.
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Gate:
    """ASGI middleware that lets requests pass to `/<token>/...` of one of the hosts alone.

    The host is checked because a foreign page can give its own name this machine's address.

    Args:
        app: answers the requests; it sees the path behind the token.
        token: part of the address.
        hosts: see `allowed_hosts`.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str]) -> None:
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], *_HEADERS]}
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._inner(scope))(self._below(scope), receive, send_with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        host = host_name(Headers(scope=scope).get("host", ""))
        if host not in self.hosts and not ("*" in self.hosts and _is_address(host)):
            return PlainTextResponse("expected the viewer's own address as Host", 421)
        if scope["method"] not in _METHODS:
            return PlainTextResponse("expected GET", 405)
        given = scope["path"].lstrip("/").partition("/")[0]
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return PlainTextResponse("expected the viewer's token in the address: see what lsr view printed", 403)
        return None

    def _inner(self, scope: Scope) -> ASGIApp:
        # Addresses on the page are relative to the folder.
        is_folder = scope["path"] != f"/{self.token}"
        return self.app if is_folder else RedirectResponse(f"/{self.token}/")

    def _below(self, scope: Scope) -> Scope:
        """The scope with the path behind the token."""
        return dict(scope) | {"path": scope["path"].removeprefix(f"/{self.token}") or "/", "root_path": ""}


def allowed_hosts(listens_on: str) -> set[str]:
    """The names in the Host header that a server on this address answers to; "*": every numeric address.

    Example:
        >>> sorted(allowed_hosts("127.0.0.1"))
        ['127.0.0.1', '::1', 'localhost']
    """
    if listens_on in _LOOPBACK:
        return set(_LOOPBACK)
    hosts = {*_LOOPBACK, listens_on.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return hosts | {"*"} if listens_on in ("0.0.0.0", "::") else hosts


def host_name(header: str) -> str:
    """The host of a Host header, without its port.

    Example:
        >>> host_name("LOCALHOST:8000"), host_name("[::1]:8000"), host_name("::1")
        ('localhost', '::1', '')
    """
    if header.startswith("["):
        name, _, rest = header[1:].partition("]")
        return name.lower() if rest == "" or rest.startswith(":") else ""
    name, _, port = header.partition(":")
    return "" if ":" in port else name.lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
