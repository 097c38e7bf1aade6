"""Quotas: how many candidates each channel may propose, and how many are ranked together."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# As `serving.channels.make_channels` names them; a bundle has some of them.
CHANNELS = (
    *("two_tower", "item_ridge", "user_ridge", "transitions", "text_link", "terms"),
    *("item_to_item", "friends", "content", "new", "category", "trending"),
)


@dataclass(frozen=True)
class Quotas:
    each: int = 100
    """Of a channel that has none of its own."""
    own: Mapping[str, int] = field(default_factory=dict)
    """By channel; 0 leaves it out."""
    together: int | None = None
    """At most so many are ranked; None for all that are proposed."""

    def of(self, channel: str) -> int:
        """At most so many of this channel."""
        return self.own.get(channel, self.each)


def read_quotas(text: str) -> dict[str, int]:
    """From `name:number,name:number`.

    >>> read_quotas("trending:200,friends:0")
    {'trending': 200, 'friends': 0}
    """
    quotas = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition(":")
        if name not in CHANNELS or not number.isdecimal():
            raise ValueError(
                f"{part!r} is no channel with a number, like trending:200 "
                f"(channels: {', '.join(CHANNELS)})"
            )
        quotas[name] = int(number)
    return quotas
