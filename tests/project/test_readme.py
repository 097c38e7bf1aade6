"""The README keeps what it promises: its files exist, its tree is fresh, its commands parse."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.project.readme import README, ROOT, with_tree

TEXT = README.read_text(encoding="utf-8")
LINKS = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
CLICKS = re.findall(r'click \w+ "([^"]+)"', TEXT)
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line]
MODULES = sorted({m for c in COMMANDS for m in re.findall(r"python -m ([\w.]+)", c)})


@pytest.mark.parametrize("path", [*LINKS, *CLICKS])
def test_linked_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_tree_is_fresh() -> None:
    assert with_tree(TEXT) == TEXT, "run `python -m tests.project.readme`"


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_flags_of_commands_are_known(module: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert answer.returncode == 0, answer.stderr
    for command in COMMANDS:
        if f"python -m {module} " in command:
            flags = [word for word in shlex.split(command) if re.fullmatch(r"--[a-z-]+", word)]
            own = flags[1:] if command.startswith("ray job") else flags
            assert [f for f in own if f not in answer.stdout] == []


def test_there_are_commands_to_check() -> None:
    assert {"feature_repo.pipelines.build", "training.train"} <= set(MODULES)
    assert any(command.startswith("make demo") for command in COMMANDS)
    assert any(command.startswith("make test") for command in COMMANDS)
