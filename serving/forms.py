"""Forms: the Chinese clauses that the checker knows, by what they speak of.

Words are not set apart in Chinese, so a clause must be one of these forms from end to end; what is
in none of them states something that nobody could look up. Each form is a pattern over a text whose
names are private characters (mentions.py). What a form claims is judged in chinese.py.
"""

import re

NAME = "[\ue000-\uf8ff]"
AND = "(?:和|与|跟|同|以及|还有|及)"
NAMES = f"(?P<names>{NAME}(?:(?:、|{AND}){NAME})*)"
NUMERALS = {c: n for n, c in enumerate("零一二三四五六七八九十")} | {"两": 2}
NUMBER = r"(?P<number>\d+|[一二两三四五六七八九十])"
COUNTED = rf"(?P<bound>至少|不少于|超过|多于)?(?:有|了)?{NUMBER}"
IT = f"(?P<it>它|这个|这一项|{NAME})"
YOU = "(?:你|您)"
# What leads to a clause and states nothing.
BEFORE = (
    "(?:因为|由于|鉴于|既然|考虑到|看到|理由是|原因是|这是因为|也因为|还因为|一是|二是|三是|首先|其次|"
    "毕竟|所以|因此|于是|那么|就|而且|并且|同时|此外|另外|不仅|不但|加上|再加上|其中|而|并|还|也|且|又)*"
)
WHEN = "(?:最近|近来|近期|目前|现在|当前|如今|曾经|曾|以前|之前|刚刚|刚|已经|还|也|都|又)*"
NOW = "(?:最近|近来|近期|目前|现在|当前|如今|已经|还|也|都|又)*"
VERY = "(?:很|比较|十分|非常|相当)?"
LIKE = "(?:相似|类似|相近|接近|相像|像|差不多)"
DID = {
    "buy": "买过|购买过|买了|购买了",
    "click": "打开过|点开过|打开了",
    "like": "喜欢|喜欢过|喜欢的是",
    "listen": "听过|听了|收听过|播放过",
    "play": "播放过|听过|播放了|听了",
    "rate": "喜欢|喜欢过",
    "read": "读过|看过|读了",
    "tag": "标记过|标记了",
    "view": "浏览过|看过|浏览了",
    "watch": "看过|观看过|看了",
}
GENERAL = "选过|选择过|了解|熟悉|接触过"
ALL_DID = "|".join({*"|".join(DID.values()).split("|"), *GENERAL.split("|")})
TAGGED = "(?:加过|打过|添加过|加了|打了)标签"
TAKEN = f"{YOU}(?:(?:{GENERAL}|知道)的(?:内容|东西|作品)?|的(?:历史记录|历史|喜好|口味|兴趣|记录))"
TEXT = "的?(?:文字|描述|介绍|简介|文本)"
OWN_WORDS = f"{YOU}(?:自己)?(?:所?写过?的(?:话|内容|文字)|的(?:话|用词|文字|文字内容))"
LABEL = "(?:这个标签|这些标签|的?标签|元素)?"
MAYBE = "(?:也许|可能|或许|应该|大概|想必|很可能)?(?:也|会|也会)?"
SUGGEST = "(?:推荐|建议|选了|选择了|挑选了|挑了|想到了|想起了|准备了|介绍)"
FITS = (
    f"(?:适合|符合|合){YOU}的?(?:口味|喜好|兴趣|品味)?|值得(?:一试|一看|一听|关注)|"
    f"(?:在|进了|进入了){YOU}的(?:推荐)?列表里?|(?:会)?出现在(?:这里|{YOU}的列表里)|"
    f"被推荐给{YOU}|(?:是|会是)(?:个|一个)?(?:不错|合适|好)的?(?:选择|推荐)"
)
CHOSE = "(?:选了|选过|选择了|选择过|选中了)"
HOT = "(?:最受欢迎|最热门|热门榜单?|热门|受欢迎|排行榜|榜单)"
FORMS: tuple[tuple[str, str], ...] = (
    (
        "opinion",
        f"(?:我们)?(?:觉得|为{YOU}|向{YOU}|给{YOU}|这次|今天)*{SUGGEST}(?:的是|给{YOU})?{YOU}?"
        f"(?:试试|听听|看看)?(?:了)?{IT}?(?:给{YOU})?吧?",
    ),
    ("opinion", f"(?:我们)?(?:觉得|认为|想)?{IT}{MAYBE}(?:{FITS})"),
    ("opinion", f"(?:我们)?把{IT}(?:放进|放入|加入|列入|加进)了?{YOU}的(?:推荐)?列表"),
    ("opinion", f"(?:为什么|为何){SUGGEST}{IT}"),
    ("opinion", f"(?:不妨|可以|要不要|来)?(?:试试|试一试|听听|看看|了解一下)(?:看)?{IT}吧?"),
    ("opinion", f"{YOU}(?:也许|可能|或许|应该|大概|想必)?(?:会|也会)(?:喜欢|感兴趣)(?:上)?{IT}?"),
    ("opinion", IT),
    ("history", f"{YOU}{WHEN}(?P<verb>{ALL_DID}){NAMES}"),
    ("history", f"{NAMES}是{YOU}{WHEN}(?P<verb>{ALL_DID})的"),
    ("tagged", f"{YOU}{WHEN}(?:给|为){NAMES}{TAGGED}"),
    (
        "similar",
        f"{IT}{AND}(?:{TAKEN}(?:里|中)?的?|{YOU}{WHEN}(?P<verb>{ALL_DID}|{TAGGED})的)?{NAMES}"
        f"(?:的?风格)?{VERY}{LIKE}的?",
    ),
    ("similar", f"{IT}{VERY}(?:像|接近|类似){NAMES}"),
    ("term", f"{IT}?{AND}{TAKEN}(?:都)?(?:与|和|跟){NAMES}有关"),
    (
        "term",
        f"{IT}?{AND}{TAKEN}(?:都)?(?:有(?:共同点|共同的标签)[：:]?|有|带有|含有|包含){NAMES}{LABEL}",
    ),
    ("term", f"{IT}?{WHEN}(?:它们)?(?:都|同样)?(?:有|带有|含有|包含|属于){NAMES}{LABEL}"),
    ("term", f"{TAKEN}(?:里|中)?{WHEN}(?:有|带有|含有|包含){NAMES}{LABEL}"),
    ("term", f"{IT}?(?:符合|适合){YOU}对{NAMES}的(?:喜好|兴趣|口味)"),
    ("term", f"{YOU}(?:对{NAMES}(?:感兴趣|有兴趣))"),
    ("term", f"{NAMES}是{IT}{AND}{TAKEN}(?:的|之间的)共同点"),
    ("friends", f"{YOU}?(?:的|共)?{COUNTED}(?:位|个|名)(?:朋友|好友){WHEN}{CHOSE}{IT}?"),
    (
        "friends",
        f"(?:在)?{YOU}的(?:朋友|好友)(?:中|里|当中){COUNTED}(?:位|个|名|人){WHEN}{CHOSE}{IT}?",
    ),
    ("friends", f"{IT}{WHEN}被{YOU}?的?{COUNTED}(?:位|个|名)(?:朋友|好友){CHOSE}了?"),
    (
        "popularity",
        f"{IT}?{NOW}(?:是|在|位列|名列|排在|排名|位于|进入了?|属于)?{NOW}{HOT}?的?"
        f"(?:前{NUMBER}(?:名|个|项|位)?(?:之一|之内|以内|之列|里|内)?)",
    ),
    ("popularity", f"{IT}?{NOW}是?{NOW}{HOT}的{NUMBER}(?:名|个|项|位)之一"),
    ("popularity", f"{IT}{NOW}{VERY}(?:热门|受欢迎|流行)"),
    ("text", f"{IT}{TEXT}{AND}{OWN_WORDS}{VERY}{LIKE}"),
    ("text", f"{OWN_WORDS}{AND}{IT}{TEXT}{VERY}{LIKE}"),
    ("new", f"{IT}?(?:刚刚上架|是新的|还没有人选过)|推荐给{YOU}|让{YOU}先人一步"),
    ("opinion", f"{IT}?符合我们目前对{YOU}的了解|喜欢与否|请告诉我们"),
)
PATTERNS = [(kind, re.compile(BEFORE + form)) for kind, form in FORMS]
# A colon that a form needs is no end of a clause.
SPLIT = re.compile(r"(?<!共同点)(?<!标签)[：:]|[，。；！？,;!?]|\.(?!\d)")
QUOTES = re.compile(r"[\s“”\"「」『』《》‘’]")
