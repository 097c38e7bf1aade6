"""Evidence records with known contents, shared by the tests of templates, checker and writer."""

from serving.evidence import Evidence, Fact


def took(name: str, action: str, item_id: str) -> Fact:
    return Fact(
        id=f"history-{item_id}",
        kind="history",
        source="behaviour",
        name=name,
        entity_ids=(item_id,),
        action=action,
    )


def shares(name: str, *item_ids: str) -> Fact:
    return Fact(id=f"term-{name}", kind="term", source="text", name=name, entity_ids=item_ids)


def friends(number: int) -> Fact:
    return Fact(id="friends", kind="friends", source="social", number=number, unit="people")


def popular(within: int) -> Fact:
    return Fact(id="popularity", kind="popularity", source="item", number=within, unit="places")


def close_text(percent: int) -> Fact:
    return Fact(id="text", kind="text", source="text", number=percent, unit="percent")


MOVIE = Evidence(
    item_id="m1",
    title="Heat (1995)",
    facts=(
        took("The Godfather (1972)", "rate", "m2"),
        took("Casino (1995)", "rate", "m3"),
        shares("Crime", "m2", "m3"),
        shares("Drama", "m2"),
        friends(3),
        popular(50),
    ),
    contributions={"behaviour": 2.0, "social": 1.0, "text": 0.5, "item": 0.1},
    leading_source="behaviour",
)
MUSIC = Evidence(
    item_id="a1",
    title="Massive Attack",
    facts=(
        took("Portishead", "tag", "a2"),
        took("Tricky", "tag", "a3"),
        shares("trip-hop", "a2", "a3"),
        close_text(96),
    ),
)
BARE = Evidence(item_id="b1", title="Low")
NEW = Evidence(item_id="n1", title="Fresh Paint", is_new=True)
POPULAR = Evidence(item_id="p1", title="Kylie Minogue", facts=(friends(5), popular(10)))
RECORDS = (MOVIE, MUSIC, BARE, NEW, POPULAR)
