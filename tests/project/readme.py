"""The README's generated part: the file tree with each file's own first line.

`python -m tests.project.readme` writes it anew; a test fails while it is stale.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BEGIN, END = "<!-- tree:begin -->\n", "<!-- tree:end -->"
FOLDERS = ("feature_repo", "training", "serving")
WIDTH = 34


def first_line(file: Path) -> str:
    """First sentence of the module's docstring, without the name that many begin with."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    sentence = paragraph.split(". ")[0].rstrip(".")
    head, colon, rest = sentence.partition(": ")
    sentence = rest if colon and " " not in head else sentence
    return sentence[:1].upper() + sentence[1:]


def tree() -> str:
    lines = ["```"]
    for folder in FOLDERS:
        lines.append(f"{folder}/")
        lines += branch(ROOT / folder, 1)
    return "\n".join([*lines, "```"]) + "\n"


def branch(folder: Path, depth: int) -> list[str]:
    """Files, then folders, of one folder; empty `__init__.py` files are left out."""
    lines = []
    for file in sorted(folder.glob("*.py")):
        if sentence := first_line(file):
            lines.append(f"{'  ' * depth}{file.name:<{WIDTH - 2 * depth}}{sentence}")
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if any(inner.glob("*.py")):
            lines += [f"{'  ' * depth}{inner.name}/", *branch(inner, depth + 1)]
    return lines


def with_tree(text: str) -> str:
    """The README's text with the tree put between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tree() + END + after


if __name__ == "__main__":
    README.write_text(with_tree(README.read_text(encoding="utf-8")), encoding="utf-8")
