"""Chinese: which statements a text makes, and whether the evidence supports them.

In: a masked text (mentions.py) and its record. Out: statements. A clause must be one of the forms
below from end to end; what is in none of them states something that nobody could look up.
"""

import re
from collections.abc import Iterator, Sequence

from serving.evidence import Evidence, Fact
from serving.mentions import PRIVATE, Masked, Mention
from serving.statements import Statement, Verdict

WORDS: frozenset[str] = frozenset()
NUMERALS = {c: n for n, c in enumerate("零一二三四五六七八九十")} | {"两": 2}
NAME = "[\ue000-\uf8ff]"
NAMES = f"(?P<names>{NAME}(?:(?:、|和|与|以及|还有|跟){NAME})*)"
NUMBER = r"(?P<number>\d+|[一二两三四五六七八九十])"
IT = f"(?P<it>它|这个|{NAME})"
BEFORE = "(?:因为|由于|所以|而且|并且|同时|此外|另外|还因为|也因为|其中|并|还|也|且)*"
TAKEN = "(?:选过|了解|熟悉|知道|接触过)的(?:内容|东西|作品)?"
DID = {
    "buy": "买过|购买过|买了",
    "click": "打开过|点开过",
    "like": "喜欢|喜欢过|喜欢的是",
    "listen": "听过|听了|收听过|播放过",
    "play": "播放过|听过|播放了|听了",
    "rate": "喜欢|喜欢过",
    "read": "读过|看过|读了",
    "tag": "标记过|标记了",
    "view": "浏览过|看过",
    "watch": "看过|观看过|看了",
}
GENERAL = "选过|选择过|了解|熟悉|接触过"
ALL_DID = "|".join({*"|".join(DID.values()).split("|"), *GENERAL.split("|")})
FORMS: tuple[tuple[str, str], ...] = (
    (
        "opinion",
        f"(?:我们)?(?:为你|向你|给你)?(?:推荐|选了|挑选了|建议)(?:你)?(?:试试|听听|看看)?(?:了)?{IT}?(?:给你)?",
    ),
    (
        "opinion",
        f"{IT}(?:在你的列表里|出现在这里|被推荐给你|也许合你的口味|可能适合你|也许适合你|值得一试)",
    ),
    ("opinion", f"(?:不妨|可以|要不要)?(?:试试|听听|看看)(?:看)?{IT}"),
    ("opinion", f"你(?:也许|可能|或许|应该)?(?:会|也会)(?:喜欢|感兴趣)(?:上)?{IT}?"),
    ("opinion", IT),
    ("history", f"你(?:最近|还|也|都)*(?P<verb>{ALL_DID}){NAMES}"),
    (
        "tagged",
        f"你(?:最近|还|也|都)*(?:给|为){NAMES}(?:加过|打过|添加过|加了|打了)标签",
    ),
    (
        "similar",
        f"{IT}(?:和|与|跟)(?:你{TAKEN}|你(?:{ALL_DID})的)?{NAMES}(?:很|比较|十分)?(?:相似|类似|相近|接近)",
    ),
    ("term", f"{IT}?(?:和|与|跟)你{TAKEN}(?:都)?(?:与|和|跟){NAMES}有关"),
    (
        "term",
        f"{IT}?(?:和|与|跟)你{TAKEN}(?:都)?(?:有(?:共同点|共同的标签)[：:]?|带有|含有|包含){NAMES}",
    ),
    ("term", f"{IT}?(?:都)?(?:带有|含有|包含|属于){NAMES}(?:这个标签|这些标签|的?标签|元素)?"),
    ("friends", f"你?(?:有|的)?{NUMBER}(?:位|个|名)朋友(?:最近|也|都)*(?:选了|选过|选择了){IT}?"),
    (
        "popularity",
        f"{IT}?(?:近来|最近|目前|也|还|是|位列|名列|排在|进入|属于)*(?:最受欢迎|最热门)的?前?{NUMBER}(?:名|个|项)?(?:之一|之内|以内|之列)?",
    ),
    (
        "text",
        f"{IT}的(?:文字|描述|介绍)(?:与|和|跟)你(?:自己)?(?:写的话|写过的话|的话)(?:相近|接近|相似)",
    ),
    ("new", f"{IT}?(?:刚刚上架|是新的|还没有人选过)|推荐给你|让你先人一步"),
    ("opinion", f"{IT}?符合我们目前对你的了解|喜欢与否|请告诉我们"),
)
PATTERNS = [(kind, re.compile(BEFORE + form)) for kind, form in FORMS]
# A colon that a form needs is no end of a clause.
SPLIT = re.compile(r"(?<!共同点)(?<!标签)[：:]|[，。；！？,;!?]|\.(?!\d)")
QUOTES = re.compile(r"[\s“”\"「」『』《》‘’]")


def judge(masked: Masked, record: Evidence) -> Iterator[Statement]:
    """Statements with verdicts, in reading order."""
    start, ends = 0, [match.end() for match in SPLIT.finditer(masked.text)]
    for end in [*ends, len(masked.text)]:
        part, start = masked.text[start:end], end
        clause = QUOTES.sub("", SPLIT.sub("", part))
        if clause:
            verdict, evidence, problems = _judged(clause, masked, record)
            text = masked.unmasked(part)
            yield Statement(text=text, verdict=verdict, evidence=evidence, problems=problems)


def _judged(
    clause: str, masked: Masked, record: Evidence
) -> tuple[Verdict, tuple[str, ...], tuple[str, ...]]:
    for kind, pattern in PATTERNS:
        match = pattern.fullmatch(clause)
        if match is None:
            continue
        found = match.groupdict()
        names = [masked.mention(c) for c in found.get("names") or "" if PRIVATE.match(c)]
        subject = masked.mention(found["it"]) if len(found.get("it") or "") == 1 else None
        number = _number(found.get("number"))
        facts, problem = _supported(
            kind, [n for n in names if n], subject, number, found.get("verb") or "", record
        )
        if problem:
            return "contradicted", (), (problem,)
        return ("supported", tuple(f.id for f in facts), ()) if facts else ("opinion", (), ())
    return "unsupported", (), (f"not in the evidence: {masked.unmasked(clause)!r}",)


def _supported(
    kind: str,
    names: Sequence[Mention],
    subject: Mention | None,
    number: int | None,
    verb: str,
    record: Evidence,
) -> tuple[Sequence[Fact], str]:
    """The facts behind a clause of this form, or what is wrong with it."""
    if subject is not None and not subject.is_item:
        return (), "says of another name what holds for the suggested item"
    if kind in ("history", "tagged", "similar"):
        past = [name.history for name in names if name.history is not None]
        if len(past) < len(names):
            return (), "says that the user took up what they did not"
        for fact in past:
            allowed = f"{DID.get(fact.action, '')}|{GENERAL}".split("|")
            if (kind == "history" and verb not in allowed) or (
                kind == "tagged" and fact.action != "tag"
            ):
                return (), f"says what the user did not do: {verb!r}"
        return past, ""
    if kind == "term":
        terms = [name.term for name in names if name.term is not None]
        return terms, "" if len(terms) == len(names) else "names what is not shared"
    if kind in ("friends", "popularity", "text"):
        told = [fact for fact in record.facts if fact.kind == kind]
        if not told:
            return (), f"speaks of {kind}, of which the evidence has none"
        wrong = kind != "text" and told[0].number != number
        return told, f"not in the evidence: the number {number}" if wrong else ""
    if kind == "new" and not record.is_new:
        return (), "says that the item is new, which the evidence does not"
    return (), ""


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    return int(text) if text.isdecimal() else NUMERALS[text]


def without_faults(statements: Sequence[Statement]) -> str:
    """The text of the statements that may stand."""
    kept = "".join(statement.text for statement in statements if statement.may_stand)
    return kept.rstrip("，。；！？,;!?：:、 ") + "。"
