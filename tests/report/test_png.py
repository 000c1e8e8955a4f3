import io

from matplotlib.figure import Figure
from PIL import Image

from lsr_ext.report.png import figure_png, write_figure


def test_a_figure_has_the_size_asked_for(tmp_path):
    figure = Figure(figsize=(2, 1))
    assert Image.open(io.BytesIO(figure_png(figure, dpi=50))).size == (100, 50)
    write_figure(tmp_path / "new" / "a.png", figure)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.size == (260, 130)
