"""Phrases: the fixed words of templates, by language and tone.

Every placeholder is filled from an evidence record; what stands around it is true of any record
that has the fact. A new language is one more `Phrases` here and one more grammar for the checker.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Language = Literal["en", "zh"]
Tone = Literal["neutral", "friendly", "brief"]


class Phrases(BaseModel):
    """All that a template says in one language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    took_up: dict[str, str]
    """By action, what the user did with {names}; "" stands for any other action."""
    history: tuple[str, ...]
    """Around `took_up`, given as {did}."""
    term: tuple[str, ...]
    """{names}: what the item shares with the user's own take-ups."""
    text: tuple[str, ...]
    one_friend: tuple[str, ...]
    friends: tuple[str, ...]
    """{number}: two or more."""
    popularity: tuple[str, ...]
    """{number}: places."""
    openings: dict[Tone, tuple[str, ...]]
    """{title} and {reasons}."""
    new: tuple[str, ...]
    """{title}: nobody has taken it up."""
    nothing_known: tuple[str, ...]
    """{title}: no fact to tell."""
    between: str
    """Between two reasons."""
    name: str
    """How a {name} is marked off."""
    comma: str
    last: str
    """Between the last two names of a list."""


ENGLISH = Phrases(
    took_up={
        "buy": "bought {names}",
        "click": "opened {names}",
        "like": "liked {names}",
        "listen": "listened to {names}",
        "play": "played {names}",
        "rate": "liked {names}",  # only ratings that count as take-ups come into a history
        "read": "read {names}",
        "tag": "tagged {names}",
        "view": "viewed {names}",
        "watch": "watched {names}",
        "": "took up {names}",
    },
    history=("you {did}", "it goes with what you know: you {did}"),
    term=(
        "it shares {names} with what you know",
        "it has {names} in common with what you took up",
    ),
    text=("its text is close to your own words",),
    one_friend=("one of your friends took it up", "a friend of yours took it up"),
    friends=("{number} of your friends took it up", "{number} friends of yours took it up"),
    popularity=(
        "it is among the {number} most popular lately",
        "it is one of the {number} most popular lately",
    ),
    openings={
        "neutral": (
            "We suggest {title} because {reasons}.",
            "{title} is here because {reasons}.",
            "{title} is on your list because {reasons}.",
            "We picked {title} because {reasons}.",
        ),
        "friendly": (
            "You might enjoy {title}: {reasons}.",
            "How about {title}? We think of it because {reasons}.",
            "{title} could be one for you: {reasons}.",
        ),
        "brief": ("{title}: {reasons}.",),
    },
    new=("{title} is new here; we suggest it so that you can be among the first.",),
    nothing_known=("{title} fits what we know so far; tell us whether you like it.",),
    between=", and ",
    name="{name}",
    comma=", ",
    last=" and ",
)
CHINESE = Phrases(
    took_up={
        "buy": "买过{names}",
        "click": "打开过{names}",
        "like": "喜欢{names}",
        "listen": "听过{names}",
        "play": "播放过{names}",
        "rate": "喜欢{names}",
        "read": "读过{names}",
        "tag": "给{names}加过标签",
        "view": "浏览过{names}",
        "watch": "看过{names}",
        "": "选过{names}",
    },
    history=("你{did}",),
    term=("它和你选过的内容都与{names}有关", "它与你选过的内容有共同点：{names}"),
    text=("它的文字与你自己写的话相近",),
    one_friend=("你有一位朋友也选了它",),
    friends=("你有{number}位朋友也选了它", "你的{number}位朋友选了它"),
    popularity=("它近来位列最受欢迎的前{number}名", "它是近来最热门的前{number}名之一"),
    openings={
        "neutral": (
            "推荐{title}，因为{reasons}。",
            "我们为你选了{title}，因为{reasons}。",
            "{title}在你的列表里，因为{reasons}。",
        ),
        "friendly": ("不妨试试{title}：{reasons}。", "{title}也许合你的口味：{reasons}。"),
        "brief": ("{title}：{reasons}。",),
    },
    new=("{title}刚刚上架，推荐给你，让你先人一步。",),
    nothing_known=("{title}符合我们目前对你的了解；喜欢与否，请告诉我们。",),
    between="，而且",
    name="“{name}”",
    comma="、",
    last="和",
)
PHRASES: dict[Language, Phrases] = {"en": ENGLISH, "zh": CHINESE}
