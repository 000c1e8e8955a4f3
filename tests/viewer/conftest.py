import pytest
from slide_views import TOKEN, write_view

from lsr_ext.viewer import View, make_app
from lsr_ext.viewer.gate import allowed_hosts


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    return write_view(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="session")
def view(paths):
    return View.open(**paths)


@pytest.fixture
def app(view):
    return make_app(view, TOKEN, allowed_hosts("127.0.0.1"))
