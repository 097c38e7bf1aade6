"""A scorer of two sources of known worth: one tells what is to be found, the other nothing."""

from collections.abc import Iterator, Sequence

import numpy as np

from training.baselines import Ints, Scores
from training.masks import Mask
from training.queries import Queries


class Planted:
    """`truth` names what is to be found, `noise` is the same for every item."""

    name = "planted"
    sources = ("truth", "noise")

    def masked_scores(
        self, queries: Queries, rows: Ints, masks: Sequence[Mask]
    ) -> Iterator[Scores]:
        told_BI = np.zeros((len(rows), queries.num_items), np.float32)
        told_BI[queries.relevant.flat(rows)] = 1
        for mask in masks:
            users_BS = mask.users_US[queries.user_index[rows]]
            there_BIS = users_BS[:, None] & mask.items_IS
            weights_S = np.array([1, 0.5], np.float32)
            yield told_BI * there_BIS[..., 0] * weights_S[0] + there_BIS[..., 1] * weights_S[1]
