"""Vocabulary: the English words that the checker knows, by what a clause with them speaks of.

A word that is in none of these lists states something that nobody could look up. What a list makes
of a clause is said in english.py.
"""

import re

NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "hundred": 100}
# What a user did, by action: every form that says just that.
DID = {
    "buy": "bought buy buying purchased purchase purchasing",
    "click": "opened clicked",
    "like": "liked like enjoyed enjoy liking enjoying",
    "listen": "listened listen listening heard hear played play playing streamed",
    "play": "played play playing listened listen listening heard hear",
    "rate": "liked like enjoyed enjoy rated liking enjoying",
    "read": "read reading",
    "tag": "tagged tagging",
    "view": "viewed viewing",
    "watch": "watched watch watching seen saw",
}
TOOK_UP = frozenset("took taken take picked chose chosen know known knew".split())
ALL_DID = frozenset(" ".join(DID.values()).split()) | TOOK_UP | {"loved", "love", "loving"}
FRIENDS = frozenset("friend friends".split())
POPULAR = frozenset("popular popularity trending top".split())
SHARES = frozenset(
    """share shares shared sharing common tag tags genre genres keyword keywords category
    categories topic topics theme themes taste tastes mix both style styles overlap overlaps
    overlapping link links linked connect connects connected connection""".split()
)
SIMILAR = frozenset(
    """similar similarity similarly like alike close closest closer near nearby related goes go
    resemble resembles resembling resemblance akin comparable reminiscent""".split()
)
FITS = frozenset("match matches matching fit fits fitting suit suits suited along taste".split())
WORDS_OF_TEXT = frozenset("text words description wording wrote write writing written".split())
OF_NEW = frozenset("new nobody yet".split())
RELATIVE = frozenset(
    "what that which those others other things thing something ones items item picks".split()
)
HISTORY = frozenset("history profile library collection".split())
REASON, AT_LEAST = "because_of", "at_least"
WISHES = frozenset("may might can could will would should want let if hope try".split())
# These state nothing by themselves: the closed classes of English words, and how people talk of
# suggesting, of reasons and of fitting.
PLAIN = frozenset(
    """
    a about across activity add added additionally all along already also although am among an
    and another any appeal appealing appeals appear appears are as at back based basis be
    because been behind being belong belongs beside besides between bring brings brought but by
    came carries carry check choice chose classed come comes consider considering counts current
    currently data decided described did do does due easily entry explains explore fact facts
    fan fans few fewer filed find finding first fit fits following follows for found from
    further furthermore give given go going good great has have having hello hence here hi
    history hope how however i idea in indeed interest interested interests into is it item
    items its itself just labeled labelled lately lead leads least led less likely likewise line
    list listed listen look looking looks lot made make making marked match matches maybe me
    might mind more moreover most much my naturally notice noticed now of offer offers on one
    ones onto option or other others our ours out over own page paired people perhaps pick picks
    place placed plus point points possibly probably propose proposed put rank ranked ranks
    rather reason reasons recent recently recommend recommendation recommendations recommended
    recommending recommends right see seem seems selected selection several show showing shown
    shows since so some somebody someone something spot start suggest suggested suggesting
    suggestion suggestions suggests suit suits surely than thanks that the their them then there
    therefore these they thing things think this those though thought through thus time to today
    together too toward towards turn under up us via want was way we well were what where
    whether which while who whose why with within wonder worth yes you your yours yourself
    """.split()
)
# Praise is an opinion of the fit, never of the item.
PRAISE = frozenset("good great perfect nice natural".split())
PRAISED = frozenset("match fit choice pick addition suggestion recommendation one".split())
FLIPS = frozenset(
    """not no never none neither nor without hardly barely dislike disliked dislikes hate hated
    hates avoid avoided skipped skip despite unlike unpopular worst worse bad boring ignored
    rejected least against instead opposite don't didn't doesn't isn't aren't wasn't haven't
    hasn't won't can't cannot couldn't wouldn't nothing""".split()
)
WORDS = (
    (PLAIN | ALL_DID | FRIENDS | POPULAR | SHARES | SIMILAR | FITS | WORDS_OF_TEXT | OF_NEW)
    | (WISHES | RELATIVE | HISTORY | {REASON, AT_LEAST, "percent", "catalogue"})
    | (PRAISE | NUMBER_WORDS.keys())
)
# Fixed phrases whose words would mean something else one by one.
IDIOMS = {
    "as many as": "",
    "at least": AT_LEAST,
    "at present": "now",
    "at the moment": "now",
    "based on": REASON,
    "because of": REASON,
    "due to": REASON,
    "given that": "because",
    "in common": "common",
    "in keeping with": "like",
    "in light of": REASON,
    "in line with": "like",
    "in view of": REASON,
    "no fewer than": AT_LEAST,
    "no less than": AT_LEAST,
    "not long ago": "recently",
    "not only": "also",
    "on account of": REASON,
    "on top of that": "also",
    "owing to": REASON,
    "right now": "now",
    "thanks to": REASON,
    "these days": "now",
    "what is more": "also",
    "why not": "why",
}
IDIOM = re.compile(rf"(?<!\S)(?:{'|'.join(sorted(IDIOMS, key=len, reverse=True))})(?!\S)")
