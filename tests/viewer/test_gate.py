import pytest

from lsr_ext.viewer.gate import allowed_hosts, host_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("Localhost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1]evil", ""),
        ("localhost:80:80", ""),
        ("", ""),
    ],
)
def test_host_of_a_header(header, name):
    assert host_name(header) == name


def test_hosts():
    assert allowed_hosts("localhost") == {"127.0.0.1", "localhost", "::1"}
    assert "10.0.0.5" in allowed_hosts("10.0.0.5") and "*" not in allowed_hosts("10.0.0.5")
    assert "*" in allowed_hosts("0.0.0.0")
