"""How much of the tests runs: by default the short tests, and few random cases.

Tests that take long have the marker `long`; `pytest -m long` runs them. The number of random cases is that of the
profile, chosen by `--hypothesis-profile=long`, except where a test sets its own.
"""

import os

# Before torch and Numba are imported. Two workers of two threads each would wait for each other on two cores, and
# Numba sets the number of OpenMP's threads for torch too. Tests of threads set their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

settings.register_profile("short", max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("long", settings.get_profile("short"), max_examples=2000)
settings.load_profile("short")
