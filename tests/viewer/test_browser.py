"""The page in headless Chromium; a screenshot is kept in runs/screenshots."""

from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from serving import serving

SCREENSHOTS = Path(__file__).parents[2] / "runs" / "screenshots"
LOADED = "document.body && document.body.dataset.state === 'loaded'"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def address(paths):
    with serving(paths) as (_, found):
        yield found


@pytest.fixture
def page(address, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.go(address)
        browser.wait_for(LOADED)
        yield browser
        assert not browser.messages  # no errors, nothing that was refused


def settle(page):
    """Wait until what was just asked for is drawn."""
    page.run("new Promise((done) => setTimeout(done, 700))")
    page.wait_for(LOADED)
    return page.screenshot()


def slide_part(picture):
    """Without the panel, the small map, and the lines below."""
    return picture[:600, :800].astype(int)


def test_tiles_load(page):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    picture = slide_part(page.screenshot(SCREENSHOTS / "viewer.png"))
    red, green, blue = picture[300, 700]
    assert red > green and blue > green  # pink and purple tissue
    assert picture.std() > 20
    counts = page.run("Object.values(performance.getEntriesByType('resource')).map(one => one.name)")
    assert {name.split("/tiles/")[1].split("/")[0] for name in counts if "/tiles/" in name} >= {"slide", "labels"}
    origin = page.run("location.origin")
    assert all(name.startswith(origin) for name in counts)


@pytest.mark.parametrize(
    "toggle", ["on-labels", "on-contours", "on-probability", "on-regions", "on-dots", "on-blocks"]
)
def test_a_switch_changes_pixels_and_back(page, toggle):
    before = slide_part(settle(page))
    page.run(f"document.getElementById('{toggle}').click()")
    changed = slide_part(settle(page))
    assert (before != changed).any(axis=2).sum() > 40
    page.run(f"document.getElementById('{toggle}').click()")
    np.testing.assert_array_equal(slide_part(settle(page)), before)


def test_a_class_is_hidden_alone(page):
    for toggle in ("on-contours", "on-regions", "on-dots"):
        page.run(f"document.getElementById('{toggle}').click()")
    before = slide_part(settle(page))
    page.run("document.getElementById('kind-classes-1').click()")
    changed = (slide_part(settle(page)) != before).any(axis=2)
    rows, _ = np.nonzero(changed)
    scale = page.run("Number(new URLSearchParams(location.hash.slice(1)).get('scale'))")
    # The disc of tumour alone, of a radius of a quarter of the slide's height.
    assert changed.sum() == pytest.approx(np.pi * (0.25 * 960 / scale) ** 2, rel=0.05)
    assert np.ptp(rows) == pytest.approx(2 * 0.25 * 960 / scale, rel=0.05)


def test_opacity(page):
    before = slide_part(settle(page))
    page.press("]")
    more = slide_part(settle(page))
    assert (before != more).any(axis=2).sum() > 1000
    assert page.run("document.getElementById('opacity-labels').value") == "0.45"


def test_keys_move_the_view(page):
    def middle():
        settle(page)
        link = page.run("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
        return float(link["x"]), float(link["y"]), float(link["scale"])

    x, y, scale = middle()
    page.press("+")
    assert middle()[2] == pytest.approx(scale / 1.5, rel=0.02)
    page.press("ArrowRight")
    page.press("ArrowDown")
    moved = middle()
    assert moved[0] > x and moved[1] > y
    page.press("1")
    assert middle()[2] == pytest.approx(1, rel=0.02)
    page.press("0")
    assert middle()[2] == pytest.approx(scale, rel=0.02)


def test_keys_switch_layers(page):
    assert page.run("document.getElementById('on-labels').checked")
    page.press("l")
    assert not page.run("document.getElementById('on-labels').checked")
    page.press("m")
    assert page.run("document.body.classList.contains('wide')")


def test_position_class_and_scale(page):
    link = page.run("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    width, height = page.run(
        "[document.getElementById('slide').clientWidth, document.getElementById('slide').clientHeight]"
    )
    x, y, scale = (float(link[name]) for name in ("x", "y", "scale"))
    at = 0.3 * 1250, 0.45 * 960  # in the disc of tumour
    page.move(round((at[0] - x) / scale + width / 2), round((at[1] - y) / scale + height / 2))
    page.wait_for("document.getElementById('found').textContent.startsWith('tumour')")
    text = page.run("document.getElementById('position').textContent")
    found = [int(part.split()[1].replace(",", "")) for part in text.split(" px")[0].split(", ")]
    assert found == pytest.approx(at, abs=2 * scale)
    # The bar is as long as it says.
    bar, label = page.run(
        "[document.querySelector('#scale i').offsetWidth, document.querySelector('#scale span').textContent]"
    )
    assert bar * scale * 0.25 == pytest.approx(float(label.removesuffix(" µm")), rel=0.03)


def test_a_link_keeps_the_view(page, address, tmp_path):
    for key in "++bd]":
        page.press(key)
    before = settle(page)
    link = page.run("location.href")
    with Browser(tmp_path / "other") as other:
        other.go(link)
        other.wait_for(LOADED)
        after = settle(other)
    assert np.abs(slide_part(before) - slide_part(after)).mean() < 0.5


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_has_no_sideways_scroll(address, tmp_path, dark):
    with Browser(tmp_path / "profile", size=(400, 800), dark=dark) as page:
        page.go(address)
        page.wait_for(LOADED)
        page.screenshot(SCREENSHOTS / f"viewer_phone_{'dark' if dark else 'light'}.png")
        assert page.run("document.documentElement.scrollWidth") <= 400
        assert page.run("document.getElementById('slide').clientHeight") > 250
