"""The five-row examples in the docstrings run as tests."""

import doctest
import importlib

import pytest

MODULES = (
    "metrics",
    "classification",
    "bootstrap",
    "queries",
    "ranking",
    "slices",
    "report",
    "valuation",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"training.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
