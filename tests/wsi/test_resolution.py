"""Microns per pixel as files write them."""

import pytest
from slides import tissue_like, write_pyramid

from lsr_ext.wsi import open_slide
from lsr_ext.wsi.resolution import aperio_mpp, ome_mpp, openslide_mpp

OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels {}/></Image></OME>'


@pytest.mark.parametrize(
    ("description", "mpp"),
    [
        ("Aperio\r\n1x1|AppMag = 20|MPP = 0.4990|Left = 2", (0.499, 0.499)),
        ("Aperio|MPP=0.25", (0.25, 0.25)),
        ("Aperio|AppMag = 40", None),
        ("Aperio|MPP = 0", None),
        ("Aperio|MPP = 1e9", None),
    ],
)
def test_aperio(description, mpp):
    assert aperio_mpp(description) == mpp


@pytest.mark.parametrize(
    ("attributes", "mpp"),
    [
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.4"', (0.5, 0.4)),
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="0.0005" PhysicalSizeYUnit="mm"', (0.5, 0.5)),
        ('PhysicalSizeX="0.5"', None),
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="pixel" PhysicalSizeY="0.5"', None),
        ('PhysicalSizeX="nan" PhysicalSizeY="1"', None),
    ],
)
def test_ome(attributes, mpp):
    found = ome_mpp(OME.format(attributes))
    assert found == (None if mpp is None else pytest.approx(mpp))


def test_broken_xml_says_nothing():
    assert ome_mpp("<OME><Image>") is None
    assert ome_mpp("<OME/>") is None


def test_openslides_properties():
    assert openslide_mpp({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.25"}) == (0.5, 0.25)
    assert openslide_mpp({"openslide.mpp-x": "0.5"}) is None


@pytest.mark.parametrize(("unit", "per_micron"), [("CENTIMETER", 1e-4), ("INCH", 1 / 25_400)])
def test_tiff_tags_in_both_units(tmp_path, unit, per_micron):
    path = tmp_path / "slide.tif"
    resolution = (1 / 0.5 / per_micron, 1 / 0.25 / per_micron)
    write_pyramid(path, tissue_like(64, 64), mpp=None, resolution=resolution, resolutionunit=unit)
    assert open_slide(path).mpp == pytest.approx((0.5, 0.25), rel=1e-4)


def test_a_unit_that_is_no_length_says_nothing(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, tissue_like(64, 64), mpp=None, resolution=(20_000, 20_000), resolutionunit="NONE")
    assert open_slide(path).mpp is None


def test_what_the_caller_gives_goes_first(tmp_path):
    path = tmp_path / "slide.tif"
    write_pyramid(path, tissue_like(64, 64), mpp=0.25)
    assert open_slide(path, mpp=0.5).mpp == (0.5, 0.5)
    assert open_slide(path, mpp=(0.5, 0.6)).mpp == (0.5, 0.6)
