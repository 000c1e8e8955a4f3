"""Regions of each kind of file, against areas worked out by hand."""

import json
import math

import pytest
import shapely
from slides import CASES, needs_cases

from lsr_ext.data.cohort.annotations import read_annotations

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE]}


def areas(annotations):
    return {name: shapely.union_all(shapes).area for name, shapes in annotations.shapes.items()}


def write(path, *features):
    items = []
    for name, geometry in features:
        properties = {} if name is None else {"classification": {"name": name}}
        items.append({"type": "Feature", "geometry": geometry, "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


def test_one_odd_feature_does_not_lose_the_others(tmp_path):
    path = write(
        tmp_path / "a.geojson",
        ("Tumor", POLYGON),
        (None, POLYGON),
        ("Tumor", {"type": "Point", "coordinates": [3, 3]}),
        ("Tumor", {"type": "LineString", "coordinates": [[3, 3], [4, 4]]}),
        ("Tumor", {"type": "Polygon", "coordinates": [[[0, 0]]]}),
        ("Tumor", None),
    )
    found = read_annotations(path)
    assert areas(found) == {"Tumor": 100.0}
    assert dict(found.passed_over) == {
        "without a class": 1,
        "Point": 1,
        "LineString": 1,
        "not a valid Polygon": 1,
        "without a geometry": 1,
    }


def test_collections_holes_and_outlines_that_cross_themselves(tmp_path):
    hole = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]
    far = [[[x + 20, y] for x, y in SQUARE]]
    collection = {
        "type": "GeometryCollection",
        "geometries": [
            {"type": "Polygon", "coordinates": [SQUARE, hole]},
            {"type": "Point", "coordinates": [1, 1]},
            {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": far}]},
        ],
    }
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    found = read_annotations(write(tmp_path / "a.geojson", ("Tumor", collection), ("Bow", bow)))
    assert areas(found) == {"Tumor": pytest.approx(196.0), "Bow": pytest.approx(50.0)}


ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="A0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58"><Coordinates>
<Coordinate Order="2" X="10" Y="10"/><Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="10" Y="0"/>
<Coordinate Order="3" X="0" Y="10"/></Coordinates></Annotation>
<Annotation Name="Stroma" Type="Rectangle" PartOfGroup="None"><Coordinates>
<Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="4" Y="0"/><Coordinate Order="2" X="4" Y="5"/>
<Coordinate Order="3" X="0" Y="5"/></Coordinates></Annotation>
<Annotation Name="A2" Type="Dot" PartOfGroup="Tumor"><Coordinates>
<Coordinate Order="0" X="1" Y="1"/></Coordinates></Annotation>
<Annotation Name="A3" Type="Polygon" PartOfGroup="Tumor"><Coordinates>
<Coordinate Order="0" X="1" Y="one"/></Coordinates></Annotation>
</Annotations><AnnotationGroups><Group Name="Tumor" PartOfGroup="None"/></AnnotationGroups></ASAP_Annotations>"""

IMAGESCOPE = """<Annotations MicronsPerPixel="0.25">
<Annotation Id="1" Name="Tumor" LineColor="65280"><Regions>
<Region Id="1" Type="0" NegativeROA="0"><Vertices><Vertex X="0" Y="0"/><Vertex X="10" Y="0"/>
<Vertex X="10" Y="10"/><Vertex X="0" Y="10"/></Vertices></Region>
<Region Id="2" Type="1" NegativeROA="1"><Vertices><Vertex X="2" Y="2"/><Vertex X="4" Y="2"/><Vertex X="4" Y="4"/>
<Vertex X="2" Y="4"/></Vertices></Region>
<Region Id="3" Type="4"><Vertices><Vertex X="2" Y="2"/><Vertex X="4" Y="2"/></Vertices></Region>
</Regions></Annotation>
<Annotation Id="2" Name=""><Regions><Region Id="4" Type="2" Text="Necrosis"><Vertices><Vertex X="0" Y="0"/>
<Vertex X="20" Y="10"/></Vertices></Region><Region Id="5" Type="0">
<Vertices><Vertex X="0" Y="0"/><Vertex X="9" Y="0"/><Vertex X="9" Y="9"/></Vertices></Region></Regions>
</Annotation></Annotations>"""


def test_asap(tmp_path):
    (tmp_path / "a.xml").write_text(ASAP)
    found = read_annotations(tmp_path / "a.xml")
    assert areas(found) == {"Tumor": 100.0, "Stroma": 20.0}
    assert dict(found.passed_over) == {"Dot": 1, "not a valid Polygon": 1}
    assert not found.is_geojson


def test_corners_without_an_order_are_passed_over(tmp_path):
    (tmp_path / "a.xml").write_text(ASAP.replace('Order="1"', 'Order="first"', 1))
    assert read_annotations(tmp_path / "a.xml").passed_over["with corners in no order"] == 1


def test_imagescope(tmp_path):
    (tmp_path / "a.xml").write_text(IMAGESCOPE)
    found = read_annotations(tmp_path / "a.xml")
    assert areas(found) == {"Tumor": 96.0, "Necrosis": pytest.approx(math.pi * 10 * 5, rel=0.01)}
    assert dict(found.passed_over) == {"without an area": 1, "without a class": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<Annotations>", "not readable XML"),
        ("<svg/>", "expected the XML of ASAP or ImageScope, got <svg>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Annotations/>', "expected XML without declarations of entities"),
    ],
)
def test_other_xml_is_refused(tmp_path, content, message):
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(ValueError, match=rf"a\.xml: {message}"):
        read_annotations(tmp_path / "a.xml")


@needs_cases
@pytest.mark.parametrize("name", ["08a_unclassified", "08d_bom"])
def test_an_annotation_without_a_class_is_passed_over(name):
    found = read_annotations(CASES / f"{name}.geojson")
    assert areas(found) == {"Tumor": 250_000.0}
    assert dict(found.passed_over) == {"without a class": 1}
