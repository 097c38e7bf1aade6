"""What is written in the synthetic world: titles, descriptions, tags, reviews, introductions.

In: sub-theme numbers and random draws. Out: Arrow text columns. The words of a sub-theme appear in
texts only: an item's category says much less than its title.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml

ADJECTIVES = """quiet bold hidden last first golden slow secret wild small long lost honest modern
broken gentle strange late early simple brave old new distant""".split()
# {0} an adjective, {1} and {2} two words of the item's sub-theme.
TITLES = (
    "{0} {1} and {2}",
    "the {0} {1}: notes on {2}",
    "{1}, {2} and other {0} things",
    "{0} days of {1} and {2}",
    "between {1} and {2}: {0} hours",
    "a {0} year with {1} and {2}",
)
OPENINGS = ("A guide to", "Stories about", "An evening with", "Everything on", "A close look at")
ENDINGS = (
    "Made for curious people.",
    "Four parts and a short epilogue.",
    "With a foreword by the makers.",
    "Shown for the first time.",
    "New and revised.",
)
PRAISE = (
    "Wonderful, I loved it",
    "Excellent and a real joy",
    "Great, warmly recommended",
    "A delight from start to end",
)
SHRUGS = ("Fine in parts", "It was all right", "Neither here nor there", "Watched half of it")
BLAME = (
    "Boring, a waste of time",
    "I disliked it, sadly a poor effort",
    "Terrible, very disappointing",
    "Dull and annoying",
)
FIRST_NAMES = """Ada Ben Cleo Dario Edith Farid Greta Hugo Ines Jonas Kaya Leon Mira Nils Olga Pavel
Quinn Rosa Sami Tara Udo Vera Wanda Xenia Yara Zeno Aldo Bela Cora Dana Emil Flora""".split()
LAST_NAMES = """Abel Brandt Conti Duarte Eklund Ferrer Garcia Haas Ivanov Jansen Kovac Lindt Moreau
Novak Okafor Petit Quist Rossi Sato Torres Ueda Varga Weiss Xu Yilmaz Zhou Amari Bosch Cruz Dahl
Engel Falk""".split()


@dataclass(frozen=True)
class Themes:
    """Categories and their sub-themes; `words[s]` are what texts about sub-theme s use."""

    categories: tuple[str, ...]
    sub_themes: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]

    @property
    def per_category(self) -> int:
        return len(self.sub_themes) // len(self.categories)

    @property
    def per_theme(self) -> int:
        return len(self.words[0])


@cache
def read_themes() -> Themes:
    """Read `world_themes.yaml`, which lies beside this module."""
    path = Path(__file__).with_name("world_themes.yaml")
    tree: dict[str, dict[str, list[str]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    themes = Themes(
        categories=tuple(tree),
        sub_themes=tuple(name for category in tree.values() for name in category),
        words=tuple(tuple(words) for category in tree.values() for words in category.values()),
    )
    assert {len(category) for category in tree.values()} == {themes.per_category}
    assert {len(words) for words in themes.words} == {themes.per_theme}
    return themes


def words_of(
    themes_n: npt.NDArray[np.int16], num_words: int, rng: np.random.Generator
) -> list[pa.Array]:
    """`num_words` columns: different words of each row's sub-theme, in any order."""
    themes = read_themes()
    order = np.argsort(rng.random((len(themes_n), themes.per_theme)), axis=1)
    vocabulary = pa.array([word for words in themes.words for word in words])
    base = themes_n.astype(np.int64) * themes.per_theme
    return [vocabulary.take(pa.array(base + order[:, i])) for i in range(num_words)]


def pick(choices: tuple[str, ...] | list[str], num: int, rng: np.random.Generator) -> pa.Array:
    """A random one of the texts for each row."""
    return pa.array(choices).take(pa.array(rng.integers(0, len(choices), num)))


def join(*parts: pa.Array | str) -> pa.Array:
    """Columns and fixed texts put together row by row."""
    return pc.binary_join_element_wise(*parts, "")


def titles(themes_n: npt.NDArray[np.int16]) -> pa.Array:
    """A title for each item; no two of a sub-theme are alike until the combinations run out."""
    words = np.array(read_themes().words, dtype=object)
    num_words = words.shape[1]
    num_pairs = num_words * (num_words - 1)
    combinations = len(TITLES) * len(ADJECTIVES) * num_pairs
    # A step with no common factor visits every combination once before it comes back.
    number = (_count_within(themes_n) * 5_003 + themes_n.astype(np.int64) * 17) % combinations
    pattern, number = number % len(TITLES), number // len(TITLES)
    adjective, pair = number % len(ADJECTIVES), number // len(ADJECTIVES)
    first, offset = pair % num_words, pair // num_words + 1
    second = (first + offset) % num_words
    rows = zip(
        pattern,
        np.array(ADJECTIVES, dtype=object)[adjective],
        words[themes_n, first],
        words[themes_n, second],
        strict=True,
    )
    return pc.utf8_capitalize(pa.array([TITLES[p].format(a, b, c) for p, a, b, c in rows]))


def _count_within(groups_n: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """The how-manieth of its group each row is, from 0."""
    order = np.argsort(groups_n, kind="stable")
    ordered = groups_n[order]
    count = np.empty(len(groups_n), dtype=np.int64)
    count[order] = np.arange(len(groups_n)) - np.searchsorted(ordered, ordered)
    return count


def descriptions(
    main_n: npt.NDArray[np.int16],
    second_n: npt.NDArray[np.int16],
    has_second_n: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> pa.Array:
    """Three words of the main sub-theme and, where there is a second, one or two of that."""
    a, b, c = words_of(main_n, 3, rng)
    d, e = words_of(second_n, 2, rng)
    num = len(main_n)
    aside = pc.if_else(pa.array(has_second_n), join(", with some ", d, " and ", e), "")
    opening, ending = pick(OPENINGS, num, rng), pick(ENDINGS, num, rng)
    return join(opening, " ", a, ", ", b, " and ", c, aside, ". ", ending)


def reviews(
    themes_n: npt.NDArray[np.int16],
    liking_n: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> pa.Array:
    """Praise (liking of 0.6 and more), a shrug (0.3) or blame, and two words of the sub-theme."""
    num = len(themes_n)
    praise, shrug, blame = (pick(texts, num, rng) for texts in (PRAISE, SHRUGS, BLAME))
    verdict = pc.if_else(
        pa.array(liking_n >= 0.6), praise, pc.if_else(pa.array(liking_n >= 0.3), shrug, blame)
    )
    a, b = words_of(themes_n, 2, rng)
    return join(verdict, ". It is about ", a, " and ", b, ".")


def introductions(
    first_n: npt.NDArray[np.int16], second_n: npt.NDArray[np.int16], rng: np.random.Generator
) -> pa.Array:
    """What new users write about themselves: words of their two strongest tastes."""
    a, b, c = words_of(first_n, 3, rng)
    (d,) = words_of(second_n, 1, rng)
    return join("Hello, I am here for ", a, ", ", b, " and ", c, ", and sometimes for ", d, ".")


def creator_names(numbers: npt.NDArray[np.int32]) -> pa.Array:
    """A name a number; names come back only after 26,624 creators."""
    first = pa.array(FIRST_NAMES).take(pa.array(numbers % 32))
    last = pa.array(LAST_NAMES).take(pa.array(numbers // 32 % 32))
    initial = pa.array([chr(65 + i) for i in range(26)]).take(pa.array(numbers // 1024 % 26))
    return join(first, " ", initial, ". ", last)
