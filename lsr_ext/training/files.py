"""Write files so that a crash leaves the old one or the new one, never half of one."""

from lsr_ext.files import write_atomically

__all__ = ["write_atomically"]
