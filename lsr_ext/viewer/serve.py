"""Serve a view on this machine until it is stopped."""

from __future__ import annotations

import contextlib
import secrets
import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from lsr_ext.viewer.gate import allowed_hosts
from lsr_ext.viewer.server import make_app
from lsr_ext.viewer.view import View

LOOPBACK = "127.0.0.1"
_TOKEN_BYTES = 16
# Beyond these, requests are answered with 503.
_MAX_REQUESTS = 1024


def serve_view(
    view: View,
    host: str = LOOPBACK,
    port: int = 0,
    *,
    announce: Callable[[str], None] = print,
    in_browser: bool = False,
) -> None:
    """Serve a view until interrupted.

    Args:
        view: see `View.open`.
        host: the address to listen on; others than loopback let other machines in, if they know the token.
        port: 0: a free one.
        announce: is given the address of the page, when it answers.
        in_browser: open the address in the browser.

    Raises:
        OSError: the address or port is taken or not of this machine.
        FileNotFoundError: OpenSeadragon was not put into this installation.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    app = make_app(view, token, allowed_hosts(host))
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, limit_concurrency=_MAX_REQUESTS, server_header=False, ws="none"
    )
    with _listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/{token}/"
        announce(address)
        if in_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):  # the way to stop it
            uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_MAX_REQUESTS)
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    return listening
