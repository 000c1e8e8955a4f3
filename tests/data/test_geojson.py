"""GeoJSON in every form that QuPath writes."""

import gzip
import json

import pytest
from slides import CASES, needs_cases

from lsr_ext.data.csv_files import read_rows
from lsr_ext.data.geojson import read_features

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}


def feature(properties=None, geometry=SQUARE):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (feature({"classification": {"name": "Tumor"}}), ["Tumor"]),
        ([feature({"classification": {"names": ["Tumor", "Invasive"]}})], ["Tumor: Invasive"]),
        ({"type": "FeatureCollection", "features": [feature({"classification": "Tumor"})]}, ["Tumor"]),
        (
            [feature({"name": "A 1"}), feature({}), feature(None), feature({"classification": {}})],
            ["A 1", None, None, None],
        ),
        ([{"type": "FeatureCollection", "features": [feature({"classification": {"name": "a"}})]}], ["a"]),
        (SQUARE, [None]),
        ([], []),
        ([3, None], [None, None]),
    ],
)
def test_forms(tmp_path, content, names):
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(content))
    assert [one.name or one.title for one in read_features(path)] == names


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("packed", [True, False])
def test_encodings(tmp_path, encoding, packed):
    content = json.dumps(feature({"classification": {"name": "Tumör"}}), ensure_ascii=False).encode(encoding)
    path = tmp_path / "a.geojson"
    path.write_bytes(gzip.compress(content) if packed else content)
    (found,) = read_features(path)
    assert (found.name, found.geometry) == ("Tumör", SQUARE)


@needs_cases
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("08a_unclassified", ["Tumor", None]),
        ("08b_names", ["Tumor: Invasive"]),
        ("08d_bom", ["Tumor", None]),
    ],
)
def test_cases(name, classes):
    assert [one.name for one in read_features(CASES / f"{name}.geojson")] == classes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not readable GeoJSON"),
        (b'"text"', "expected a GeoJSON FeatureCollection"),
        (b'{"type": "Topology"}', "expected a GeoJSON FeatureCollection"),
        (b'{"name": "T\xf6"}', "expected text in UTF-8"),
        (b"\x1f\x8bgzip", "not readable"),
    ],
)
def test_faults_name_the_file(tmp_path, content, message):
    path = tmp_path / "a.geojson"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.geojson: {message}"):
        read_features(path)


@needs_cases
def test_a_csv_in_another_encoding_is_named():
    with pytest.raises(ValueError, match=r"19_cp1252\.csv: expected text in UTF-8.*save it as UTF-8"):
        list(read_rows(CASES / "19_cp1252.csv", ("slide",)))


def test_spaces_around_fields_do_not_count_and_short_rows_are_errors(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(" slide , x\n a b ,1\n\n,\n")
    assert [fields for _, fields in read_rows(path, ("slide", "x"))] == [{"slide": "a b", "x": "1"}]
    path.write_text("slide,x\na\n")
    with pytest.raises(ValueError, match=r"a\.csv, row 2: expected 2 fields, got 1"):
        list(read_rows(path, ("slide", "x")))
    path.write_text("slide;x\na;1\n")
    with pytest.raises(ValueError, match=r"expected columns slide,x, got slide;x"):
        list(read_rows(path, ("slide", "x")))
