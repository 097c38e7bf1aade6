"""Garbage: what a replica keeps for long is not looked through for garbage.

Python looks through every object it holds once in some hundred requests. At a million items that
takes 0.3 s, during which nothing is answered.
"""

import gc

from serving.gate import in_a_replica


def settle() -> None:
    """All that is held now is there to stay; outside of a replica nothing changes. To be called
    again when some of it was replaced, so that what went is found."""
    if in_a_replica():
        gc.unfreeze()
        gc.collect()
        gc.freeze()
