"""What some tests need and not every machine has."""

from pathlib import Path

import pytest

from pipeline.nets.options import CLASSIFIER, DETECTOR, SHIPPED

SHARED = Path(__file__).parents[3] / "shared"
THIRD_PARTY = SHARED / "weights"

needs_third_party = pytest.mark.skipif(
    not THIRD_PARTY.is_dir(), reason="the third-party weights are not here"
)
needs_real_data = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="the real datasets are not here"
)
needs_shipped = pytest.mark.skipif(
    not all((SHIPPED / f"{name}.safetensors").is_file() for name in (DETECTOR, CLASSIFIER)),
    reason="no weights are shipped yet",
)
