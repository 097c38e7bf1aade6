"""Garbage: what a replica keeps for long is not looked through for garbage.

Python looks through every object it holds once in some hundred requests. At a million items that
takes 0.3 s, during which nothing is answered.
"""

import gc

from serving.gate import in_a_replica


def settle() -> None:
    """All that is held now is there to stay; outside of a replica nothing changes."""
    if in_a_replica():
        unsettle()
        gc.collect()
        gc.freeze()


def unsettle() -> None:
    """Some of it is to go: it is looked through again until the next `settle`."""
    gc.unfreeze()
