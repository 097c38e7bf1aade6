"""The feed of one user's friends against its definition; `user_social` on an example by hand."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.pipelines.features.engine import connect
from feature_repo.pipelines.features.friends import FriendFeed
from feature_repo.pipelines.features.options import FeatureOptions
from feature_repo.pipelines.features.social import user_social
from tests.features.worlds import DAY_US, Row, World, instant, item

# (friend, item, days since the start); few friends and instants, so that ties are the rule, and
# more items than the 50 that are kept.
take_ups = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 90), st.integers(0, 800)), max_size=250
)
meetings = st.lists(st.integers(0, 900), min_size=4, max_size=4)


@settings(max_examples=150, deadline=None)
@given(take_ups, meetings)
def test_feed_equals_its_definition(taken: list[tuple[int, int, int]], met: list[int]) -> None:
    """Friends met late bring their past with them; the feed is read whenever it has changed."""
    # Months, as in sources that date by month: some hundred take-ups may share an instant.
    taken = [(friend, item_code, day // 30 * 30) for friend, item_code, day in taken]
    feed = FriendFeed()
    for now in sorted({max(day + 1, met[f]) for f, _, day in taken} | set(met)):
        for friend, since in enumerate(met):
            if since == now:
                feed.meet(friend)
        for friend, item_code, day in sorted(taken, key=lambda row: row[2]):
            if max(day + 1, met[friend]) == now:
                feed.act(friend, day * DAY_US)
                feed.take(friend, item_code, day * DAY_US)
        seen = [(f, i, d) for f, i, d in taken if met[f] <= now and now - 365 <= d < now]
        newest = {i: max(d for _, j, d in seen if j == i) for _, i, _ in seen}
        takers = {i: len({f for f, j, _ in seen if j == i}) for i in newest}
        expected = sorted(newest, key=lambda i: (-newest[i], -takers[i], i))[:50]
        assert feed.recent(now * DAY_US) == (expected, [takers[i] for i in expected])


def test_a_tie_beyond_the_fiftieth_is_kept_in_mind() -> None:
    """Sixty items of one instant: the ten that two friends took up come first until one forgets."""
    feed = FriendFeed()
    for item_code in range(50, 60):
        feed.take(1, item_code, 0)
    for item_code in range(60):
        feed.take(0, item_code, 30 * DAY_US)
    assert feed.recent(31 * DAY_US)[0] == [*range(50, 60), *range(40)]
    assert feed.recent(365 * DAY_US) == ([*range(50, 60), *range(40)], [2] * 10 + [1] * 40)
    assert feed.recent(366 * DAY_US) == (list(range(50)), [1] * 50)
    assert feed.recent(396 * DAY_US) == ([], [])


def test_most_active_friends_first_then_by_id() -> None:
    feed = FriendFeed()
    for friend in range(12):
        feed.meet(friend)
    assert feed.top_friends() == list(range(10))
    feed.act(11, 5 * DAY_US)
    feed.act(10, 5 * DAY_US)
    assert feed.top_friends() == [10, 11, *range(8)]
    for _ in range(3):
        feed.act(4, 6 * DAY_US)
    assert feed.top_friends()[:3] == [4, 10, 11]
    # Twenty half-lives later one new event outweighs three old ones.
    feed.act(7, 606 * DAY_US)
    assert feed.top_friends()[:2] == [7, 4]


def take(name: str, user: str, item_id: str, at_us: int, is_positive: bool = True) -> Row:
    return {
        "event_id": name,
        "user_id": user,
        "item_id": item_id,
        "action": "play",
        "value": None,
        "timestamp": instant(at_us),
        "is_positive": is_positive,
        "timed": True,
    }


def edge(source: str, target: str, since_us: int | None) -> Row:
    return {
        "source_id": source,
        "target_id": target,
        "kind": "follow",
        "valid_from": instant(since_us or 0),
        "timed": since_us is not None,
    }


def test_rows_by_hand(tmp_path: Path) -> None:
    """A row at a grid instant holds what came strictly before it, and only news makes a row."""
    day = 10_000
    world = World(
        items=[item(name, 1, 0) for name in ("a", "b")],
        interactions=[
            take("1", "ben", "a", day * DAY_US),  # at midnight: seen a day later
            take("2", "ben", "b", day * DAY_US + 1, is_positive=False),
            take("3", "cat", "a", (day + 3) * DAY_US - 1),
            take("4", "ann", "b", (day + 3) * DAY_US),  # her own: no news of a friend
        ],
        edges=[
            edge("ann", "ben", None),
            edge("ann", "cat", (day + 4) * DAY_US),
            edge("cat", "ann", (day + 6) * DAY_US),
        ],
    )
    world.write(tmp_path)
    with connect(tmp_path, FeatureOptions()) as connection:
        rows = [row for table in user_social(connection) for row in table.to_pylist()]
    ann = [row for row in rows if row["user_id"] == "ann"]
    assert [row["counted_at_us"] // DAY_US for row in ann] == [0, day + 1, day + 5, day + 7]
    assert [row["num_friends"] for row in ann] == [1, 1, 2, 2]
    assert [row["reciprocity"] for row in ann] == [0, 0, 0, 0.5]
    assert [row["friends_recent_items"] for row in ann] == [[], ["a"], ["a"], ["a"]]
    assert [row["friends_recent_counts"] for row in ann] == [[], [1], [2], [2]]
    assert [row["top_friends"] for row in ann] == [["ben"], ["ben"], ["ben", "cat"], ["ben", "cat"]]
    assert all(row["event_timestamp"].hour == 0 for row in ann)


def test_a_user_without_friends_has_no_row(tmp_path: Path) -> None:
    world = World([item("a", 1, 0)], [take("1", "ben", "a", DAY_US)], [])
    world.write(tmp_path)
    with connect(tmp_path, FeatureOptions()) as connection:
        assert sum(table.num_rows for table in user_social(connection)) == 0
