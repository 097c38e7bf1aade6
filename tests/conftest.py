"""Fixtures that several folders of tests share."""

import os
from pathlib import Path

import pytest

REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the published data sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("POTLUCK_REAL_DATA", REAL_DATA))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set POTLUCK_REAL_DATA")
    return folder
