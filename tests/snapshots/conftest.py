from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .launches import launched


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as left by a launch that had everything."""
    directory = tmp_path_factory.mktemp("written")
    with launched(directory) as launch:
        launch.list()
        launch.fill()
    return directory


@pytest.fixture
def directory(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "kept")
    return tmp_path / "kept"
