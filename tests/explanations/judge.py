"""A judge of explanations that shares nothing with the checker: it looks into the raw tables.

A sentence is taken apart by forms that a person read and found to claim one thing each; what the
form leaves open (names, numbers) is looked up in interactions, links, item text and embeddings,
not in the evidence record. What no form fits counts as not supported.
"""

import re
from pathlib import Path

import duckdb
import numpy as np

from feature_repo.pipelines.tables import table_path

OPENINGS = (
    r"We suggest (?P<item>.+?) because (?P<rest>.+)",
    r"(?P<item>.+?) is here because (?P<rest>.+)",
    r"(?P<item>.+?) is on your list because (?P<rest>.+)",
    r"We picked (?P<item>.+?) because (?P<rest>.+)",
)
LEAD = r"(?:and |also |because |that )*"
CLAIMS = {
    "did": LEAD + r"(?:it goes with what you know: )?you (?:also |both |recently |have )*"
    r"(?P<did>tagged|played|listened to|liked|watched|bought|opened|read|viewed|took up) "
    r"(?P<names>.+)",
    "shares": LEAD + r"it (?:also )?(?:shares|has) (?P<names>.+?)"
    r"(?: with (?:what you (?:know|took up|tagged|like)|your taste)"
    r"| in common with what you (?:know|took up|tagged))?",
    "friends": LEAD + r"(?P<number>\d+) (?:of your friends|friends of yours) (?:also )?took it up",
    "popular": LEAD + r"it is (?:also )?(?:among|one of) the (?P<number>\d+) most popular lately",
    "text": LEAD + r"its text is close to your own words",
}
DEEDS = {"tagged": "tag", "played": "play", "liked": "rate", "watched": "watch", "bought": "buy"}
SPLIT = re.compile(r"(?:, and |; |, | and )(?=(?:also )?(?:it |its |you |\d+ (?:of|friends)))")
CLOSE = 0.9
HALF_LIFE_DAYS = 30


class Judge:
    """Answers from the tables of a data set, as of its end."""

    def __init__(self, data: Path, at_us: int) -> None:
        self._db = duckdb.connect()
        for name in ("interactions", "edges", "items"):
            self._db.sql(f"CREATE TABLE {name} AS FROM '{table_path(data, name)}'")
        for name in ("item_text", "user_text"):
            path = data / "features" / f"{name}.parquet"
            self._db.sql(
                f"CREATE VIEW {name} AS FROM '{path}' WHERE epoch_us(event_timestamp) <= {at_us}"
            )
        self._db.sql(
            "CREATE TABLE newest AS SELECT item_id, max_by(keywords, event_timestamp) AS words "
            "FROM item_text GROUP BY item_id"
        )
        self._popular = self._popular_titles(at_us)
        self._item_ids, self._vectors = self._item_vectors()
        self._judged: dict[tuple[str, str, str], bool] = {}

    def share(self, text: str, user_id: str, item_id: str) -> tuple[int, int]:
        """How many of the text's statements are true, of how many."""
        found = next((m for o in OPENINGS if (m := re.fullmatch(o, text.rstrip(".")))), None)
        if found is None or same(found["item"]) != same(self.title(item_id)):
            return 0, 1
        parts = SPLIT.split(found["rest"])
        for part in parts:
            asked = part.strip(), user_id, item_id
            if asked not in self._judged:
                self._judged[asked] = self._is_true(*asked)
        return sum(self._judged[part.strip(), user_id, item_id] for part in parts), len(parts)

    def title(self, item_id: str) -> str:
        row = self._db.execute("SELECT title FROM items WHERE item_id = ?", [item_id]).fetchone()
        return str(row[0]) if row else ""

    def _is_true(self, part: str, user_id: str, item_id: str) -> bool:
        for kind, form in CLAIMS.items():
            match = re.fullmatch(form, part)
            if match:
                said = match.groupdict()
                if kind == "did":
                    return self._did(user_id, said["did"], said["names"])
                if kind == "shares":
                    return self._shares(user_id, item_id, said["names"])
                if kind == "friends":
                    return 0 < int(said["number"]) <= self._friends(user_id, item_id)
                if kind == "popular":
                    return same(self.title(item_id)) in self._popular[: int(said["number"])]
                return self._text_is_close(user_id, item_id)
        return False

    def _did(self, user_id: str, did: str, names: str) -> bool:
        rows = self._db.execute(
            "SELECT DISTINCT title FROM interactions JOIN items USING (item_id) "
            "WHERE user_id = ? AND is_positive AND (action = ? OR ? = 'took up')",
            [user_id, DEEDS.get(did, did), did],
        ).fetchall()
        return is_list_of(names, {same(title) for (title,) in rows})

    def _shares(self, user_id: str, item_id: str, names: str) -> bool:
        """Each name is a word of the item, and of something that the user took up."""
        own = self._words("SELECT ?::VARCHAR AS item_id", [item_id])
        past = self._words(
            "SELECT DISTINCT item_id FROM interactions WHERE user_id = ? AND is_positive", [user_id]
        )
        return is_list_of(names, own & past)

    def _words(self, which: str, values: list[str]) -> set[str]:
        rows = self._db.execute(
            f"""WITH chosen AS ({which})
            SELECT unnest(words) FROM newest JOIN chosen USING (item_id)
            UNION ALL SELECT unnest(categories) FROM items JOIN chosen USING (item_id)""",
            values,
        ).fetchall()
        return {same(word) for (word,) in rows}

    def _friends(self, user_id: str, item_id: str) -> int:
        row = self._db.execute(
            "SELECT count(DISTINCT target_id) FROM edges JOIN interactions "
            "ON target_id = user_id WHERE source_id = ? AND item_id = ? AND is_positive",
            [user_id, item_id],
        ).fetchone()
        return int(row[0]) if row else 0

    def _popular_titles(self, at_us: int) -> list[str]:
        """Spellings of the 100 most popular titles: events halved a month, at the instant."""
        rows = self._db.execute(
            "SELECT any_value(title) FROM interactions JOIN items USING (item_id) WHERE timed "
            "GROUP BY item_id ORDER BY sum(pow(2, -greatest(0, ? - epoch_us(timestamp)) / ?)) DESC "
            "LIMIT 100",
            [at_us, HALF_LIFE_DAYS * 86_400_000_000.0],
        ).fetchall()
        return [same(title) for (title,) in rows]

    def _item_vectors(self) -> tuple[list[str], np.ndarray]:
        rows = self._db.sql(
            "SELECT items.item_id, max_by(text_embedding, event_timestamp) FROM items "
            "LEFT JOIN item_text ON items.item_id = item_text.item_id GROUP BY items.item_id"
        ).fetchall()
        width = next(len(vector) for _, vector in rows if vector)
        vectors = np.array([vector or [0.0] * width for _, vector in rows], np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return [str(item) for item, _ in rows], vectors / np.maximum(lengths, 1e-12)

    def _text_is_close(self, user_id: str, item_id: str) -> bool:
        row = self._db.execute(
            "SELECT max_by(words_embedding, event_timestamp) FROM user_text WHERE user_id = ?",
            [user_id],
        ).fetchone()
        if row is None or row[0] is None:
            return False
        closeness = self._vectors @ np.array(row[0], np.float32)
        own = closeness[self._item_ids.index(item_id)]
        return bool((closeness < own).mean() >= CLOSE - 1e-3)


def same(name: str) -> str:
    """Names that differ in nothing else than case, years and punctuation are one."""
    return "".join(c for c in re.sub(r"\s*\(\d{4}\)$", "", name).casefold() if c.isalnum()) or name


def is_list_of(text: str, names: set[str]) -> bool:
    """Whether the text is one of the names, or several with commas and "and" between them."""
    if same(text) in names:
        return True
    for match in re.finditer(r",? and |, |,", text):
        if same(text[: match.start()]) in names and is_list_of(text[match.end() :], names):
            return True
    return False
