"""What each feature ought to be, from raw events, one definition after the other, never mind speed.

Each function answers for one key as of an instant, or None where there ought to be no row. Counters
are valued at the instant that is asked for.
"""

from tests.features.worlds import DAY_US, Row, World, micros

Answer = dict[str, object]
HALF_LIVES = {"events_1d": 1, "events_7d": 7, "events_30d": 30, "events_365d": 365}
YEAR_US = 365 * DAY_US


def at(row: Row) -> int:
    return micros(row["timestamp"])  # type: ignore[arg-type]


def until(world: World, now: int) -> list[Row]:
    return [row for row in world.interactions if row["timed"] and at(row) <= now]


def decayed(times: list[int], now: int, half_life_days: float) -> float:
    return sum(0.5 ** ((now - t) / (half_life_days * DAY_US)) for t in times)


def rating(row: Row) -> float | None:
    return row["value"] if row["action"] == "rate" else None  # type: ignore[return-value]


def going_rate(world: World, now: int) -> float | None:
    """Mean of all ratings before the day of `now`."""
    midnight = now // DAY_US * DAY_US
    values = [v for row in until(world, midnight - 1) if (v := rating(row)) is not None]
    return sum(values) / len(values) if values else None


def counters(events: list[Row], now: int) -> Answer:
    return {n: decayed([at(row) for row in events], now, days) for n, days in HALF_LIVES.items()}


def user_activity(world: World, user: str, now: int) -> Answer | None:
    mine = [row for row in until(world, now) if row["user_id"] == user]
    if not mine:
        return None
    deviations = []
    for row in mine:
        if (value := rating(row)) is not None:
            usual = going_rate(world, at(row))
            deviations.append(0.0 if usual is None else value - usual)
    bias = sum(deviations) / (len(deviations) + 5) if deviations else None
    return {**counters(mine, now), "num_events": len(mine), "rating_bias": bias}


def user_history(world: World, user: str, now: int) -> Answer | None:
    taken = [r for r in until(world, now) if r["user_id"] == user and r["is_positive"]]
    if not taken:
        return None
    taken.sort(key=lambda row: (-at(row), row["item_id"], row["action"]))
    newest: dict[object, Row] = {}
    for row in taken:
        newest.setdefault(row["item_id"], row)
    kept = list(newest.values())[:50]
    return {
        "recent_items": [row["item_id"] for row in kept],
        "recent_actions": [row["action"] for row in kept],
        "recent_at_us": [at(row) for row in kept],
    }


def user_affinity(world: World, user: str, now: int) -> Answer | None:
    items = {row["item_id"]: row for row in world.items}
    weights: dict[str, float] = {}
    for row in until(world, now):
        if row["user_id"] == user and row["is_positive"]:
            item = items[row["item_id"]]
            primary = [item["category"]] if item["category"] else []
            for category in item["categories"] or primary:  # type: ignore[attr-defined]
                weights[category] = weights.get(category, 0) + decayed([at(row)], now, 365)
    if not weights:
        return None
    total = sum(weights.values())
    shares = {category: weight / total for category, weight in weights.items()}
    # Rounded, for a tie may be summed in another order here.
    top = sorted(shares, key=lambda category: (-round(shares[category], 9), category))[:5]
    return {
        "top_categories": top,
        "top_category_shares": [shares[category] for category in top],
        "favourite_category": top[0],
    }


def item_attributes(world: World, item_id: str, now: int) -> Answer | None:
    [row] = [row for row in world.items if row["item_id"] == item_id]
    available = micros(row["available_at"])  # type: ignore[arg-type]
    if available > now:
        return None
    same = ("title", "category", "categories", "creator", "price")
    return {**{name: row[name] for name in same}, "available_at_us": available}


def item_popularity(world: World, item_id: str, now: int) -> Answer | None:
    its = [row for row in until(world, now) if row["item_id"] == item_id]
    if not its:
        return None
    values = [v for row in its if (v := rating(row)) is not None]
    mean = None
    if values:
        usual = going_rate(world, max(at(row) for row in its))
        if usual is None:
            mean = sum(values) / len(values)
        else:
            mean = (sum(values) + 5 * usual) / (len(values) + 5)
    return {
        **counters(its, now),
        "num_events": len(its),
        "num_users": len({row["user_id"] for row in its}),
        "rating_mean": mean,
        "rating_count": len(values),
    }


def links(world: World) -> dict[tuple[str, str], int | None]:
    """(source, target) -> since when; None is from the beginning."""
    since: dict[tuple[str, str], int | None] = {}
    for edge in world.edges:
        pair = str(edge["source_id"]), str(edge["target_id"])
        begun = micros(edge["valid_from"]) if edge["timed"] else None  # type: ignore[arg-type]
        if pair[0] != pair[1]:
            known = since.get(pair, begun)
            since[pair] = None if begun is None or known is None else min(begun, known)
    return since


def refreshed_at(world: World, user: str, now: int, grid_days: int) -> int | None:
    """The last grid instant up to `now` at which something about the user's friends was new."""
    step = grid_days * DAY_US

    def next_grid(since: int | None) -> int:
        return 0 if since is None else (since // step + 1) * step

    since = links(world)
    news = []
    for (source, friend), begun in since.items():
        if source == user:
            news.append(next_grid(begun))
            if (friend, user) in since:
                news.append(max(next_grid(begun), next_grid(since[friend, user])))
            for row in until(world, now):
                if row["user_id"] == friend:
                    news.append(max(next_grid(begun), next_grid(at(row))))
    return max((grid for grid in news if grid <= now), default=None)


def user_social(world: World, user: str, now: int, grid_days: int = 1) -> Answer | None:
    grid = refreshed_at(world, user, now, grid_days)
    if grid is None:
        return None
    valid = {pair for pair, begun in links(world).items() if begun is None or begun < grid}
    friends = {target for source, target in valid if source == user}
    events = [row for row in until(world, grid - 1) if row["user_id"] in friends]
    activity = {
        f: decayed([at(row) for row in events if row["user_id"] == f], now, 30) for f in friends
    }
    # Compared in relative terms, for a sum may be rounded otherwise here.
    ranked = sorted(friends, key=lambda f: (-float(f"{activity[f]:.9e}"), f))
    lately = [row for row in events if row["is_positive"] and at(row) >= grid - YEAR_US]
    newest = {i: max(at(r) for r in lately if r["item_id"] == i) for i in ids(lately)}
    takers = {i: len({r["user_id"] for r in lately if r["item_id"] == i}) for i in ids(lately)}
    recent = sorted(newest, key=lambda i: (-newest[i], -takers[i], i))[:50]
    return {
        "num_friends": len(friends),
        "reciprocity": sum((friend, user) in valid for friend in friends) / len(friends),
        "friends_events_30d": sum(activity.values()),
        "top_friends": ranked[:10],
        "friends_recent_items": recent,
        "friends_recent_counts": [takers[i] for i in recent],
    }


def ids(rows: list[Row]) -> set[str]:
    return {str(row["item_id"]) for row in rows}
