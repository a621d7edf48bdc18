"""An ensemble that several files compare theirs with."""

import pytest
from small_ensembles import measure


@pytest.fixture(scope="session")
def reference():
    return measure()
