"""feature_repo <- training <- serving: walk every import, fail on one that points the other way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "feature_repo": {"training", "serving", "tests"},
    "training": {"serving", "tests"},
    "serving": {"tests"},
}
# Flat definition files of the feature repo: nobody outside knows views except by the registry.
DEFINITIONS = {path.stem for path in (ROOT / "feature_repo").glob("*.py")}


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_imports_point_one_way(package: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for module in imported_modules(file)
        if module.split(".")[0] in FORBIDDEN[package]
    ]
    assert not wrong


@pytest.mark.parametrize("package", ["training", "serving"])
def test_views_are_known_by_the_registry_alone(package: str) -> None:
    definitions = DEFINITIONS | {f"feature_repo.{name}" for name in DEFINITIONS}
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for module in imported_modules(file)
        if module in definitions
    ]
    assert not wrong


def test_the_feast_definitions_are_found_at_all() -> None:
    assert {"entities", "services"} <= DEFINITIONS
