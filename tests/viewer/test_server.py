"""What the viewer answers, and what it refuses."""

import asyncio
import io
import threading

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image
from slide_views import TOKEN
from starlette.testclient import TestClient

from lsr_ext.viewer import make_app, server
from lsr_ext.viewer.gate import allowed_hosts
from lsr_ext.wsi import CorruptSlideError


@pytest.fixture
def client(app):
    return TestClient(app, base_url=f"http://127.0.0.1/{TOKEN}/", follow_redirects=False)


def test_the_page_and_its_files(client):
    page = client.get("")
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for name in ("viewer.js", "layers.js", "shapes.js", "panel.js", "viewer.css", "openseadragon.min.js"):
        assert client.get(name).status_code == 200


def test_the_page_asks_nothing_of_the_network(client):
    for name in ("", "viewer.js", "layers.js", "shapes.js", "panel.js", "viewer.css"):
        assert "http://" not in client.get(name).text and "https://" not in client.get(name).text


def test_facts(client, view):
    about = client.get("info").json()
    assert (about["width"], about["height"], about["mpp"]) == (1300, 960, [0.25, 0.25])
    assert [one["name"] for one in about["prediction"]["classes"]] == view.prediction.classes
    assert about["shapes"]["dots"]["count"] == 3 and about["shapes"]["blocks"]["count"] == 20


def test_tiles(client):
    for layer, kind in (("slide", "jpeg"), ("labels", "png"), ("contours", "png"), ("probability", "png")):
        answer = client.get(f"tiles/{layer}/11/2/1", params={"classes": "1"})
        assert answer.headers["content-type"] == f"image/{kind}"
        assert Image.open(io.BytesIO(answer.content)).size == (1300 - 1024, 960 - 512)


def test_shapes_and_the_class_at_a_position(client):
    box = {"x": 900, "y": 250, "width": 150, "height": 100, "scale": 1}
    assert client.get("shapes/dots", params=box).json() == {"total": 1, "shapes": [[2, [[1000.0, 300.0]]]]}
    assert client.get("at", params={"x": 400, "y": 432}).json()["class"] == "tumour"


@pytest.mark.parametrize(
    "path",
    [
        "tiles/slide/12/0/0",  # finer than the slide
        "tiles/slide/11/3/0",
        "tiles/slide/11/-1/0",
        "tiles/slide/11/99999999999999999999/0",
        "tiles/slide/11/0/0x10",
        "tiles/slide/11/0/\u0663",  # a digit, but not one of ASCII
        "tiles/labels/11/0/0?classes=3",
        "tiles/labels/11/0/0?classes=a",
        "tiles/probability/11/0/0?classes=0,1",
        "tiles/macro/11/0/0",
        "shapes/cells",
        "slide.tif",
        "../slide.tif",
        "..%2fslide.tif",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%5c..%5cetc%5cpasswd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "page/viewer.js",
        "docs",
        "openapi.json",
    ],
)
def test_other_addresses_are_refused(app, path):
    found = raw_get(app, f"/{TOKEN}/{path}")
    assert found.status_code == 404
    assert b"root:" not in found.content


@pytest.mark.parametrize("name", ["x", "y", "width", "height", "scale"])
@pytest.mark.parametrize("value", ["", "nan", "inf", "1e300", "a", "-1e9"])
def test_other_numbers_are_refused(client, name, value):
    box = {"x": 0, "y": 0, "width": 1, "height": 1, "scale": 1} | {name: value}
    assert client.get("shapes/dots", params=box).status_code == 400


@pytest.mark.parametrize(
    "path", ["/", "/info", "/wrong/", "/wrong/info", f"/{TOKEN}x/", f"/{TOKEN[:-1]}/", "//", "/é/"]
)
def test_a_wrong_token_is_refused(app, path):
    assert TestClient(app, base_url="http://127.0.0.1").get(path).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "10.0.0.1", "127.0.0.1.evil.example", "[::2]", "localhost:80:80", ""]
)
def test_a_foreign_host_is_refused(client, host):
    assert client.get("info", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
def test_its_own_names_are_answered(client, host):
    assert client.get("info", headers={"host": host}).status_code == 200


def test_a_server_for_other_machines_is_called_by_number(view):
    client = TestClient(make_app(view, TOKEN, allowed_hosts("0.0.0.0")), base_url=f"http://x/{TOKEN}/")
    assert client.get("info", headers={"host": "10.1.2.3:80"}).status_code == 200
    assert client.get("info", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(client, method):
    assert client.request(method, "info").status_code == 405


def test_the_folder_is_found_without_its_slash(app):
    answer = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False).get(f"/{TOKEN}")
    assert answer.headers["location"] == f"/{TOKEN}/"


def test_a_tile_that_needs_too_much_is_refused(client, monkeypatch):
    monkeypatch.setattr("lsr_ext.viewer.tiles.MAX_SOURCE_PX", 1000)
    answer = client.get("tiles/slide/9/0/0")
    assert answer.status_code == 413 and "coarse enough" in answer.text


def test_a_damaged_tile_is_reported(client, monkeypatch):
    def fail(*_):
        raise CorruptSlideError("slide.tif: tile 3 is damaged")

    monkeypatch.setattr(server, "slide_tile", fail)
    answer = client.get("tiles/slide/11/0/0")
    assert answer.status_code == 500 and "tile 3 is damaged" in answer.text


def test_500_requests_at_once_are_made_a_few_at_a_time(app, monkeypatch):
    made, most, lock = [0, 0], [0], threading.Lock()
    draw = server.label_tile

    def counted(*arguments):
        with lock:
            made[0] += 1
            most[0] = max(most[0], made[0])
        try:
            return draw(*arguments)
        finally:
            with lock:
                made[0] -= 1
                made[1] += 1

    monkeypatch.setattr(server, "label_tile", counted)

    async def ask():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1/{TOKEN}/") as client:
            addresses = (f"tiles/labels/11/{i % 3}/{i % 2}?classes=1" for i in range(500))
            return await asyncio.gather(*map(client.get, addresses))

    answers = asyncio.run(ask())
    assert {answer.status_code for answer in answers} == {200}
    assert made[1] == 500 and most[0] <= 4


def test_an_installation_without_openseadragon_says_what_to_do(view, monkeypatch):
    monkeypatch.setattr(server, "_PAGE", ("index.html", "not-there.min.js"))
    with pytest.raises(FileNotFoundError, match=r"no not-there\.min\.js: .* python tools/openseadragon\.py"):
        make_app(view, TOKEN, ["127.0.0.1"])


def test_a_view_without_prediction(paths):
    from lsr_ext.viewer import View

    app = make_app(View.open(paths["slide"]), TOKEN, ["127.0.0.1"])
    client = TestClient(app, base_url=f"http://127.0.0.1/{TOKEN}/")
    assert client.get("info").json()["prediction"] is None
    assert client.get("tiles/labels/11/0/0?classes=1").status_code == 404
    assert np.asarray(Image.open(io.BytesIO(client.get("tiles/slide/11/0/0").content))).shape == (512, 512, 3)


def raw_get(app, path):
    """A request whose path no client tidied up."""
    path, _, query = path.partition("?")
    decoded = httpx.URL(f"http://127.0.0.1{path}").path if "%" in path else path
    status, body = [], []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        status.append(message.get("status"))
        body.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "GET",
        "path": decoded,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1")],
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(app(scope, receive, send))
    return httpx.Response(status[0], content=b"".join(body))
