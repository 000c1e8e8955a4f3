"""A wheel for every Python 3: the libraries in it use no symbol of Python."""

from setuptools.command.bdist_wheel import bdist_wheel


class Py3Wheel(bdist_wheel):
    """Tags the wheel py3-none-<platform>."""

    def get_tag(self) -> tuple[str, str, str]:
        """Python, ABI and platform."""
        return "py3", "none", super().get_tag()[2]
