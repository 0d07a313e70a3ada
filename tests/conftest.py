"""Paths that every test shares; the environment itself is set in the conftest above."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "chapters" / "assets"))  # the book's own reader of claims


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT
