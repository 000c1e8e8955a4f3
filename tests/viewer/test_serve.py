"""`lsr view` as a process: its address, many requests at once, and how it ends."""

import asyncio
import signal
import socket
from pathlib import Path

import httpx2 as httpx
import pytest
from serving import serving

from lsr_ext.viewer import serve_view

pytestmark = pytest.mark.long


def memory_mib(process, name):
    """VmRSS, or VmHWM for the highest so far."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def test_500_requests_at_once_in_bounded_memory(paths):
    async def ask(address, count):
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=300, base_url=address, trust_env=False) as client:
            layers = ("slide", "labels", "contours", "probability")
            tiles = (f"tiles/{layers[i % 4]}/11/{i % 3}/{i % 2}?classes=1" for i in range(count))
            return [answer.status_code for answer in await asyncio.gather(*map(client.get, tiles))]

    with serving(paths) as (process, address):
        assert set(asyncio.run(ask(address, 8))) == {200}
        before = memory_mib(process, "VmRSS")
        assert asyncio.run(ask(address, 500)) == [200] * 500
        # A tile takes about 4 MiB while it is made; 500 of them would take 2 GiB.
        assert memory_mib(process, "VmHWM") - before < 200


def test_it_ends_at_once_without_an_error(paths):
    with serving(paths) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert httpx.get(f"{address}info", trust_env=False).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_every_run_has_a_token_of_its_own(paths):
    with serving({"slide": paths["slide"]}) as (_, first), serving({"slide": paths["slide"]}) as (_, second):
        tokens = [address.rstrip("/").rpartition("/")[2] for address in (first, second)]
        assert tokens[0] != tokens[1] and min(map(len, tokens)) >= 20


def test_a_port_that_is_taken_is_named(view):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}"):
            serve_view(view, port=port)
