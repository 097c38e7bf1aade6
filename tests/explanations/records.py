"""Evidence records with known contents, shared by the tests of templates, checker and writer."""

from serving.evidence import Evidence

MOVIE = Evidence(
    item_id="m1",
    title="Heat (1995)",
    verb="liked",
    history=("The Godfather (1972)", "Casino (1995)"),
    shared=("Crime", "Drama"),
    num_friends=3,
    popular_within=50,
    contributions={"behaviour": 2.0, "social": 1.0, "text": 0.5, "item": 0.1},
)
MUSIC = Evidence(
    item_id="a1",
    title="Massive Attack",
    verb="tagged",
    history=("Portishead", "Tricky"),
    shared=("trip-hop",),
)
BARE = Evidence(item_id="b1", title="Low")
NEW = Evidence(item_id="n1", title="Fresh Paint", is_new=True)
POPULAR = Evidence(item_id="p1", title="Kylie Minogue", popular_within=10, num_friends=5)
RECORDS = (MOVIE, MUSIC, BARE, NEW, POPULAR)
