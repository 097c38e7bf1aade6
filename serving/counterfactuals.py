"""Counterfactuals: where an item would rank if the model did not know something.

In: a user, an item and the user's candidates. Out: for each source, and for each fact that was
weighed, the item's rank with and without it, and a sentence that says so.
"""

from pydantic import BaseModel, ConfigDict

from serving.names import shown
from serving.phrases import Language


class Counterfactual(BaseModel):
    """What hiding one source from the model does to an item's rank."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    without: str
    """The source that is hidden."""
    rank: int
    """1 for the first, with everything known."""
    rank_without: int
    num_candidates: int
    text: str


# What a source is called to a person; any other is called by its tag.
CALLED: dict[Language, dict[str, str]] = {
    "en": {
        "behaviour": "what you took up",
        "social": "what your friends took up",
        "text": "what people wrote",
        "item": "what is known of the item itself",
    },
    "zh": {
        "behaviour": "你选过的内容",
        "social": "你的朋友选过的内容",
        "text": "人们写下的文字",
        "item": "这一项本身的资料",
    },
}


def counterfactual(
    source: str, title: str, rank: int, rank_without: int, num: int, language: Language = "en"
) -> Counterfactual:
    """The ranks and the sentence.

    >>> counterfactual("social", "Low", 2, 14, 80).text
    'Without what your friends took up, Low would rank 14th instead of 2nd.'
    """
    called = CALLED[language].get(source, source)
    name = shown(title)
    if language == "zh":
        told = f"如果不看{called}，“{name}”会排在第{rank_without}位，而不是第{rank}位。"
        same = f"如果不看{called}，“{name}”仍然排在第{rank}位。"
    else:
        told = (
            f"Without {called}, {name} would rank {ordinal(rank_without)} "
            f"instead of {ordinal(rank)}."
        )
        same = f"Without {called}, {name} would still rank {ordinal(rank)}."
    return Counterfactual(
        without=source,
        rank=rank,
        rank_without=rank_without,
        num_candidates=num,
        text=told if rank != rank_without else same,
    )


def ordinal(number: int) -> str:
    """
    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '102nd', '111th']
    """
    ends = {1: "st", 2: "nd", 3: "rd"}
    end = "th" if 10 < number % 100 < 14 else ends.get(number % 10, "th")
    return f"{number}{end}"
