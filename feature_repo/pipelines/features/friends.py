"""What one user's friends have been doing, kept up to date as their events arrive.

Friends and items are integer codes in the order of their ids, so a smaller code is an earlier id.
The state is what `user_social` needs of one user and no more; memory is linear in the friends'
take-ups of the last year.
"""

from collections import deque
from collections.abc import Iterable
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
        # Per item: when each friend last took it up, how many did, when the last of them did.
        self._takers: dict[int, dict[int, int]] = {}
        self._counts: dict[int, int] = {}
        self._newest: dict[int, int] = {}
        self._taken: deque[tuple[int, int, int]] = deque()
        self._last_taken_us = -1
        self._has_late_past = False
        # The items in order, 50 and those that tie with the last, and the instants of the first and
        # the last when they were put in order; what the order does not know yet.
        self._order: list[int] = []
        self._touched: set[int] = set()
        self._is_stale = False
        self._first_us = self._last_us = -1

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
        if at_us < self._last_taken_us:
            self._has_late_past = True  # of a friend who was met after it
        else:
            self._last_taken_us = at_us
        self._taken.append((at_us, item, friend))
        takers = self._takers.get(item)
        if takers is None:
            self._takers[item], self._counts[item], self._newest[item] = {friend: at_us}, 1, at_us
        else:
            takers[friend] = at_us
            self._counts[item] = len(takers)
            self._newest[item] = max(self._newest[item], at_us)
        self._touched.add(item)

    def top_friends(self) -> list[int]:
        """The most active friends first, then by id; at most 10."""
        if self._stirred:
            # A level only grows between calls for those who stirred: the top is among them and
            # the old top.
            candidates = sorted(self._stirred.union(self._top))
            candidates.sort(key=self._levels.__getitem__, reverse=True)
            self._top = candidates[:MAX_FRIENDS]
            self._stirred = set()
        return self._top

    def recent(self, now_us: int) -> tuple[list[int], list[int]]:
        """Items that friends took up in the last 365 days, and how many friends each.

        Newest take-up first, then by the number of friends, then by id; at most 50.
        """
        self._forget(now_us - WINDOW_DAYS * DAY_US)
        if self._touched or self._is_stale:
            self._reorder()
        items = self._order[:MAX_RECENT]
        return items, list(map(self._counts.__getitem__, items))

    def _forget(self, horizon_us: int) -> None:
        """Drop take-ups before the horizon, and note when that may move an item of the order."""
        if self._has_late_past:
            self._taken = deque(sorted(self._taken))
            self._has_late_past = False
        taken = self._taken
        while taken and taken[0][0] < horizon_us:
            at_us, item, friend = taken.popleft()
            takers = self._takers.get(item)
            if takers is None or takers.get(friend) != at_us:
                continue  # the friend took it up again later, or twice in that instant
            del takers[friend]
            self._counts[item] = len(takers)
            if takers:
                self._is_stale = self._is_stale or self._newest[item] >= self._last_us
            else:
                del self._takers[item], self._newest[item], self._counts[item]
                self._touched.add(item)

    def _reorder(self) -> None:
        """Bring the order up to date, and no longer than 50 and those that tie with the last."""
        newest, touched, order = self._newest, self._touched, self._order
        fresh = [item for item in touched if item in newest]
        # What is new usually is newer than all that was in order, and goes before it.
        if self._is_stale or any(newest[item] <= self._first_us for item in fresh):
            order = self._ranked({item for item in order if item in newest}.union(fresh))
        else:
            order = self._ranked(fresh) + [item for item in order if item not in touched]
        cut = MAX_RECENT
        while cut < len(order) and newest[order[cut]] == newest[order[MAX_RECENT - 1]]:
            cut += 1
        self._order, self._touched, self._is_stale = order[:cut], set(), False
        if order:
            self._first_us, self._last_us = newest[order[0]], newest[self._order[-1]]

    def _ranked(self, items: Iterable[int]) -> list[int]:
        # Three stable sorts whose keys need no Python call are faster than one by tuples.
        ranked = sorted(items)
        ranked.sort(key=self._counts.__getitem__, reverse=True)
        ranked.sort(key=self._newest.__getitem__, reverse=True)
        return ranked
