"""What one user's friends have been doing, kept up to date as their events arrive.

Friends and items are integer codes in the order of their ids, so a smaller code is an earlier id.
The state is what `user_social` needs of one user and no more; memory is linear in the friends'
take-ups of the last year.
"""

from collections import deque
from math import log2

from feature_repo.pipelines.features.decay import DAY_US

WINDOW_DAYS = 365
MAX_RECENT = 50
MAX_FRIENDS = 10
ACTIVITY_HALF_LIFE_DAYS = 30.0

_HALF_LIFE_US = ACTIVITY_HALF_LIFE_DAYS * DAY_US
_NEVER = float("-inf")


class FriendFeed:
    """One user's friends: who is most active, what they took up lately, how many of them what."""

    def __init__(self) -> None:
        # log2 of a friend's activity in units of 1970: decay shifts all alike, so the order never
        # changes between events, and nothing overflows.
        self._levels: dict[int, float] = {}
        self._top: list[int] = []
        self._stirred: set[int] = set()
        self._takers: dict[int, dict[int, int]] = {}
        self._newest: dict[int, int] = {}
        self._taken: deque[tuple[int, int, int]] = deque()
        self._order: list[int] = []
        self._touched: set[int] = set()

    def meet(self, friend: int) -> None:
        """A new friend, of whom nothing is known yet."""
        self._levels.setdefault(friend, _NEVER)
        self._stirred.add(friend)

    def act(self, friend: int, at_us: int) -> None:
        """A friend did something. Each friend's events come in the order of time."""
        now = at_us / _HALF_LIFE_US
        self._levels[friend] = now + log2(1.0 + 2.0 ** (self._levels.get(friend, _NEVER) - now))
        self._stirred.add(friend)

    def take(self, friend: int, item: int, at_us: int) -> None:
        """A friend took an item up."""
        if self._taken and at_us < self._taken[-1][0]:
            # The past of a friend who was met late: rare, so put in its place at once.
            self._taken = deque(sorted([*self._taken, (at_us, item, friend)]))
        else:
            self._taken.append((at_us, item, friend))
        self._takers.setdefault(item, {})[friend] = at_us
        self._newest[item] = max(self._newest.get(item, at_us), at_us)
        self._touched.add(item)

    def top_friends(self) -> list[int]:
        """The most active friends first, then by id; at most 10."""
        if self._stirred:
            # A level only grows between calls for those who stirred: the top is among them and the
            # old top.
            candidates = self._stirred.union(self._top)
            self._top = sorted(candidates, key=lambda f: (-self._levels[f], f))[:MAX_FRIENDS]
            self._stirred = set()
        return self._top

    def recent(self, now_us: int) -> tuple[list[int], list[int]]:
        """Items that friends took up in the last 365 days, and how many friends each.

        Newest take-up first, then by the number of friends, then by id; at most 50.
        """
        changed = self._forget(now_us - WINDOW_DAYS * DAY_US)
        if changed or self._touched:
            self._reorder(changed)
        items = self._order[:MAX_RECENT]
        takers = self._takers
        return items, [len(takers[item]) for item in items]

    def _forget(self, horizon_us: int) -> bool:
        """Drop take-ups before the horizon; true if an item or a taker of one has gone."""
        changed = False
        while self._taken and self._taken[0][0] < horizon_us:
            at_us, item, friend = self._taken.popleft()
            takers = self._takers.get(item)
            if takers is None or takers.get(friend) != at_us:
                continue  # the friend took it up again later, or twice in that instant
            changed = True
            del takers[friend]
            if not takers:
                del self._takers[item], self._newest[item]
        return changed

    def _reorder(self, changed: bool) -> None:
        """Bring the order up to date, and no longer than 50 and those that tie with the last."""
        newest, touched, order = self._newest, self._touched, self._order
        fresh = [item for item in touched if item in newest]
        last_us = newest.get(order[0], 0) if order else 0
        if not changed and fresh and min(newest[item] for item in fresh) > last_us:
            kept = [item for item in order if item not in touched]
            order = sorted(fresh, key=self._rank) + kept
        else:
            order = sorted({item for item in order if item in newest}.union(fresh), key=self._rank)
        cut = MAX_RECENT
        while cut < len(order) and newest[order[cut]] == newest[order[MAX_RECENT - 1]]:
            cut += 1
        self._order, self._touched = order[:cut], set()

    def _rank(self, item: int) -> tuple[int, int, int]:
        return -self._newest[item], -len(self._takers[item]), item
