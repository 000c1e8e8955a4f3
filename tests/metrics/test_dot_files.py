"""Dots from files, good and damaged."""

import json
import warnings

import numpy as np
import pytest
import shapely

from lsr_ext.metrics import DotSet, read_dots


def write(path, text):
    path.write_text(text)
    return path


def test_csv(tmp_path):
    path = write(tmp_path / "dots.csv", "\ufeffid,X,y,class,score\n7,1.5,2,CD3,0.5\n\n8,-3,4e2,,0.25\n")
    dots = read_dots(path)
    assert dots.xy.tolist() == [[1.5, 2], [-3, 400]]
    assert dots.classes.tolist() == ["CD3", "cell"]
    assert dots.scores.tolist() == [0.5, 0.25]
    assert dots.place(1) == f"{path}, row 4"


def test_csv_with_names_of_its_own(tmp_path):
    path = write(tmp_path / "dots.csv", "cell_id,x_um,y_um,phenotype\n11,257.5,6.5,CD8+\n")
    dots = read_dots(path, ("x_um", "y_um", "phenotype", "score"))
    assert (dots.xy.tolist(), dots.classes.tolist(), dots.scores) == ([[257.5, 6.5]], ["CD8+"], None)
    with pytest.raises(ValueError, match="expected columns x and y, got 'cell_id, x_um, y_um, phenotype'"):
        read_dots(path)
    with pytest.raises(ValueError, match="expected names of the columns x, y, class, score, got 'x_um, y_um'"):
        read_dots(path, ("x_um", "y_um"))


def test_a_header_alone_is_no_dots(tmp_path):
    assert len(read_dots(write(tmp_path / "dots.csv", "x,y\n"))) == 0
    with pytest.raises(ValueError, match="expected columns x and y, got ''"):
        read_dots(write(tmp_path / "empty.csv", ""))


def test_points_of_qupath(tmp_path):
    # Its table ends every line, the header's too, with a tab.
    text = "x\ty\tclass\tname\tcolor\t\n12.5\t30.0\tTumor\tp1\t-3670016\t\n1.0\t2.0\tnull\t\t\t\n"
    dots = read_dots(write(tmp_path / "points.txt", text))
    assert dots.xy.tolist() == [[12.5, 30], [1, 2]]
    assert dots.classes.tolist() == ["Tumor", "cell"]
    assert read_dots(write(tmp_path / "points.tsv", "x\ty\t\n1.0\t2.0\t\n")).xy.tolist() == [[1, 2]]


def feature(kind, coordinates, classification=None):
    properties = {"objectType": "annotation"} | ({"classification": classification} if classification else {})
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def test_geojson_of_qupath(tmp_path):
    features = [
        feature("MultiPoint", [[1, 2], [3.5, 4]], {"name": "CD8", "color": [1, 2, 3]}),
        feature("Point", [5, 6]),
    ]
    for name, content in (
        ("collection.geojson", {"type": "FeatureCollection", "features": features}),
        ("list.json", features),
    ):
        dots = read_dots(write(tmp_path / name, json.dumps(content)))
        assert dots.xy.tolist() == [[1, 2], [3.5, 4], [5, 6]]
        assert dots.classes.tolist() == ["CD8", "CD8", "cell"]
        assert dots.rows.tolist() == [1, 1, 2]
    assert len(read_dots(write(tmp_path / "one.json", json.dumps(features[1])))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\nnan,3\n", "dots.csv, row 3: expected a finite number as x, got 'nan'"),
        ("x,y\n1,inf\n", "dots.csv, row 2: expected a finite number as y, got 'inf'"),
        ("x,y\n1,two\n", "dots.csv, row 2: expected a finite number as y, got 'two'"),
        ("x,y\n1,2\n3\n", "dots.csv, row 3: expected 2 fields, got 1"),
        ("x,y,score\n1,2,0.5\n1,2,\n", "dots.csv, row 3: expected a finite number as score, got ''"),
        ("x,y,class\n1,2\n", "dots.csv, row 2: expected 3 fields, got 2"),
    ],
)
def test_bad_rows_are_named(tmp_path, text, message):
    with pytest.raises(ValueError) as error:
        read_dots(write(tmp_path / "dots.csv", text))
    assert str(error.value).endswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [feature("Polygon", [[[0, 0]]])],
            "expected points, or polygons of cells, got 1 Polygon of an annotation",
        ),
        ([{"geometry": {"type": "Polygon", "coordinates": [3]}}], "row 1: expected the outline of a cell"),
        ([feature("Point", [1])], r"row 1: expected coordinates \[x, y\], got \[1\]"),
        ([feature("MultiPoint", [[1, None]])], "row 1: expected a finite number as y, got None"),
        ([feature("MultiPoint", 3)], r"row 1: expected coordinates \[x, y\], got None"),
        ([1], "expected points, or polygons of cells, got 1 no geometry"),
        ([feature({}, [1, 2])], "expected points, or polygons of cells, got 1 no geometry"),
        ("text", "expected a GeoJSON FeatureCollection"),
    ],
)
def test_bad_features_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match="dots.geojson.*" + message):
        read_dots(write(tmp_path / "dots.geojson", json.dumps(content)))


@pytest.mark.parametrize("kind", ["cell", "detection", ""])
def test_polygons_of_cells_count_as_their_centroids(tmp_path, kind):
    rng = np.random.default_rng(0)
    outlines = [rng.random((7, 2)) * 9 + [40_000, 70_000 + 20 * i] for i in range(5)]
    outlines = [np.array(shapely.MultiPoint(points).convex_hull.exterior.coords) for points in outlines]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [outline.tolist()]},
            "properties": {"objectType": kind, "classification": {"names": ["Tumor", "Positive"]}},
        }
        for outline in outlines
    ]
    other = feature("Polygon", [outlines[0].tolist()], {"name": "Region"})
    with pytest.warns(UserWarning, match=r"dots\.geojson: features .* passed over: 1 Polygon of an annotation"):
        dots = read_dots(write(tmp_path / "dots.geojson", "\ufeff" + json.dumps([other, *features])))
    expected = [shapely.Polygon(outline).centroid.coords[0] for outline in outlines]
    np.testing.assert_allclose(dots.xy, expected, atol=1e-6)
    assert set(dots.classes) == {"Tumor: Positive"}


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a file of dots, found none at .*none.csv"):
        read_dots(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"dots.xml: expected a file of dots \(.csv"):
        read_dots(write(tmp_path / "dots.xml", ""))
    with pytest.raises(ValueError, match="dots.json: not readable GeoJSON"):
        read_dots(write(tmp_path / "dots.json", "{"))
    (tmp_path / "dots.csv").write_bytes(b"x,y\n\xff\xfe,2\n")
    with pytest.raises(ValueError, match=r"dots.csv, row 1: not readable as text"):
        read_dots(tmp_path / "dots.csv")


def test_a_column_that_was_named_has_to_be_there(tmp_path):
    path = tmp_path / "dots.csv"
    path.write_text("x,y,type\n1,2,tumor\n3,4,stroma\n")
    with pytest.raises(ValueError, match="expected a column 'Typ' as class, got 'x, y, type'"):
        read_dots(path, ["x", "y", "Typ", "score"])
    assert read_dots(path, ["x", "y", "Type", "score"]).classes.tolist() == ["tumor", "stroma"]


@pytest.mark.filterwarnings("error")
def test_a_file_without_a_class_may_be_said_to_have_none(tmp_path):
    path = tmp_path / "dots.csv"
    path.write_text("x,y,remark\n1,2,blurred\n")
    assert read_dots(path, ["x", "y", "none", "none"]).classes.tolist() == ["cell"]


def test_words_that_may_be_the_class_are_named(tmp_path):
    path = tmp_path / "dots.csv"
    path.write_text("x,y,type\n1,2,tumor\n3,4,stroma\n")
    with pytest.warns(UserWarning, match=r"no column 'class'.* 'type' \('tumor', ...\)"):
        assert read_dots(path).classes.tolist() == ["cell", "cell"]
    path.write_text("x,y,area,probability\n1,2,1e3,nan\n3,4,20,0.5\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_dots(path)


@pytest.mark.parametrize(
    ("classification", "expected"),
    [
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, "Tumor: Positive"),
        ({"name": "Stroma"}, "Stroma"),
        ("Immune", "Immune"),
        ({"color": [0, 0, 0]}, "cell"),
        (None, "cell"),
    ],
)
def test_classes_as_qupath_writes_them(tmp_path, classification, expected):
    feature = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "properties": {"objectType": "annotation", "classification": classification},
    }
    path = tmp_path / "dots.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert read_dots(path).classes.tolist() == [expected]


def test_missing_class_names_of_a_table():
    assert DotSet([[0, 0], [1, 1], [2, 2]], [None, float("nan"), "CD8"]).classes.tolist() == [
        "cell",
        "cell",
        "CD8",
    ]
