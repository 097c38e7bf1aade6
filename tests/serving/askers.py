"""Who asks: known users of the tiny world, heavy and light, and how channels are asked for them."""

from serving.api import Context
from serving.channels import Question
from serving.filters import Allowed, none_but
from serving.ranker import SlateRanker
from serving.snapshot import Positions
from serving.users import User

# The two with the most events, the two with the fewest, and some between.
REGULARS = ("u0000002", "u0000016", "u0000021", "u0000040", "u0000033", "u0000050", "u0000071")


def ask_user(ranker: SlateRanker, user_id: str, *session_items: str) -> User:
    context = Context(session_items=list(session_items))
    return ranker.users.read(user_id, context, ranker.clock.now_us())


def ask(
    ranker: SlateRanker,
    user: User,
    listed: Positions | None = None,
    categories: tuple[str, ...] = (),
) -> Question:
    """The question that the ranker puts to its channels, among all items or those listed."""
    return Question(
        ranker.snapshot,
        user,
        Context(categories=list(categories)),
        ranker.clock.now_us(),
        Allowed([] if listed is None else [none_but(listed)]),
        ranker.voices.say(user, ranker.clock.now_us()),
    )
