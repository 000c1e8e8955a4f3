import base64
import io
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from PIL import Image
from slide_views import CLASSES, LABELS, label_map, write_view

from lsr_ext import CountDistribution
from lsr_ext.data.cohort.manifest import read_manifest
from lsr_ext.inference.prediction import open_prediction
from lsr_ext.report import slides, write_slides_report
from lsr_ext.report.block_fit import fit_blocks


@pytest.fixture
def paths(tmp_path):
    found = write_view(tmp_path)
    found["distribution"] = tmp_path / "distribution.json"
    distribution([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]]).save(found["distribution"])
    return found


def distribution(mean, std=0.05, labels=LABELS, classes=CLASSES):
    return CountDistribution(mean, np.full(np.shape(mean), std), labels, classes)


def report(paths, **options):
    return write_slides_report(
        paths["blocks"],
        predictions=paths["prediction"].parent,
        distribution=paths["distribution"],
        **options,
    ).read_text()


def pictures(page):
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in found]


def test_all_is_in_one_file(paths):
    page = report(paths)
    assert not re.search(r"https?://", page)
    assert "<link" not in page and "<script" not in page and "@import" not in page and "url(" not in page
    sources = re.findall(r"""(?:src|srcset|href)\s*=\s*["']([^"']+)""", page)
    assert sources and all(source.startswith("data:image/") for source in sources)


def test_fractions_of_the_map(paths):
    row = re.search(r"<tr><th>slide\.tif</th>(.*?)</tr>", report(paths), re.DOTALL)[1]
    cells = re.findall(r"<td>([^<]+)</td>", row)
    ids = label_map(480, 650)
    predicted = (ids != 255).sum()
    assert cells[0] == f"{predicted * 0.0005**2:.2f}"
    assert cells[1:4] == [f"{100 * (ids == c).sum() / predicted:.1f} %" for c in range(3)]
    assert cells[4:6] == ["12", "8"]


def test_contours_and_the_worst_blocks_are_shown(paths):
    thumbnail, *blocks = pictures(report(paths))
    assert max(thumbnail.shape) == 900 and len(blocks) == 6
    yellow = (np.abs(thumbnail.astype(int) - [255, 225, 25]).sum(axis=2) < 120).sum()
    circle = 2 * np.pi * 0.25 * 960 * 900 / 1300
    assert circle < yellow < 4 * circle


def test_worst_blocks_are_farthest_from_their_label(paths):
    manifest = read_manifest(paths["blocks"])
    known = CountDistribution.load(paths["distribution"])
    fit = fit_blocks(open_prediction(paths["prediction"]), manifest, np.arange(len(manifest)), known)
    excess = np.abs(fit.fractions - known.mean.numpy()[fit.labels[:, 0]]).max(axis=1) - 0.05
    np.testing.assert_allclose(fit.excess, np.maximum(excess, 0), atol=1e-6)
    assert fit.worst(3).tolist() == np.argsort(-excess, kind="stable")[:3].tolist()
    assert fit.worst(1000).tolist() == np.argsort(-excess, kind="stable")[: (excess > 0).sum()].tolist()


def test_without_a_distribution_blocks_are_not_compared(paths):
    page = write_slides_report(paths["blocks"], predictions=paths["prediction"].parent).read_text()
    assert "blocks are not compared" in page and len(pictures(page)) == 1


def test_a_cohort_alone_shows_its_blocks(paths):
    page = write_slides_report(paths["blocks"], output=paths["blocks"].parent / "out").read_text()
    (thumbnail,) = pictures(page)
    assert (np.abs(thumbnail.astype(int) - [255, 225, 25]).sum(axis=2) < 120).any()
    assert "label low" in page


def test_predictions_alone(paths):
    folder = paths["prediction"].parent
    page = write_slides_report(folder, slides=paths["slide"].parent)
    assert page == folder / "report.html" and len(pictures(page.read_text())) == 1


def test_a_slide_that_fails_is_listed(paths):
    paths["slide"].write_bytes(b"no slide")
    page = report(paths)
    assert "Slides that are left out" in page and "slide.tif" in page
    assert not pictures(page)


def test_not_all_of_many_slides_are_shown(paths, monkeypatch):
    monkeypatch.setattr(slides, "MAX_SHOWN", 0)
    page = report(paths)
    assert "0 of the 1 slides are shown" in page and not pictures(page)


def test_two_slides_of_one_name_have_their_own_blocks(tmp_path):
    found = {name: write_view(tmp_path / name) for name in ("a", "b")}
    tables = [pq.read_table(found[name]["blocks"]) for name in found]
    tables = [
        table.set_column(0, "slide", pa.array([f"{name}/slide.tif"] * len(table)))
        for name, table in zip(found, tables, strict=True)
    ]
    both = pa.concat_tables([tables[0], tables[1].slice(0, 3)]).replace_schema_metadata(tables[0].schema.metadata)
    pq.write_table(both, tmp_path / "both.parquet")
    page = write_slides_report(tmp_path / "both.parquet").read_text()
    rows = re.findall(r"<tr><th>slide\.tif</th>(.*?)</tr>", page, re.DOTALL)
    assert [sum(map(int, re.findall(r"<td>(\d+)</td>", row))) for row in rows] == [20, 3]
    manifest = read_manifest(tmp_path / "both.parquet")
    assert [len(manifest.rows_of_slide(found[name]["slide"])) for name in found] == [20, 3]
    with pytest.raises(ValueError, match="found several slides of its name: .*a/slide.tif, .*b/slide.tif"):
        manifest.rows_of_slide("slide.tif")


def test_predictions_of_other_classes_are_left_out(tmp_path):
    write_view(tmp_path, name="a")
    path = write_view(tmp_path, name="b")["prediction"]
    group = zarr.open_group(path, mode="r+")
    group.attrs["classes"] = CLASSES[::-1]
    page = write_slides_report(path.parent, slides=tmp_path).read_text()
    assert "<tr><th>a.tif</th>" in page and "<tr><th>b.tif</th>" not in page
    assert "expected the classes background, tumour, stroma, as in the prediction of a.tif" in page


def test_predictions_without_a_slide_are_counted(paths, caplog):
    folder = paths["prediction"].parent
    shutil.copytree(paths["prediction"], folder / "other.zarr")
    write_slides_report(folder, slides=paths["slide"].parent)
    assert "1 predictions are left out" in caplog.text and "other" in caplog.text


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (distribution([[0.5, 0.5, 0.0]], labels=["low"]), "labels low, high"),
        (distribution([[0.5, 0.5]] * 2, classes=["background", "cancer"]), "it has no cancer"),
    ],
)
def test_other_names_are_refused(paths, known, message):
    known.save(paths["distribution"])
    assert message in report(paths).replace("&#39;", "'")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give their slides"),
        ({"slides": "x", "predictions": "y"}, "give their slides"),
        ({"slides": "x", "distribution": "y"}, "give their slides"),
    ],
)
def test_a_folder_of_predictions_needs_its_slides(paths, options, message):
    with pytest.raises(ValueError, match=message):
        write_slides_report(paths["prediction"].parent, **options)
