"""How each channel is fitted to a small data set, in a moment."""

from collections.abc import Callable

from training.als import ALS, ALSOptions
from training.channel_state import Channel
from training.descent import DescentOptions
from training.events import Events
from training.item_ridge import ItemRidge
from training.light_graph import LightGraph, LightGraphOptions
from training.matrix_factors import MatrixFactors, MatrixFactorsOptions
from training.profiles import FriendsTaste, TermProfile
from training.sasrec import Sasrec, SasrecOptions
from training.sources import Sources
from training.text_link import TextLink
from training.transitions import Transitions
from training.two_tower import TwoTower, TwoTowerOptions
from training.user_ridge import UserRidge

SHORT = DescentOptions(epochs=2, batch_size=64, learning_rate=0.01)
SEQUENCE = SasrecOptions(width=8, length=6, num_drawn=10, descent=SHORT)
TOWERS = TwoTowerOptions(width=8, length=6, term_width=3, descent=SHORT)
SOCIAL = LightGraphOptions(width=8, friend_weight=0.5, descent=SHORT)

CHANNELS: dict[str, Callable[[Events, Sources], Channel]] = {
    "user-ridge": UserRidge,
    "item-ridge": ItemRidge,
    "transitions": lambda events, _: Transitions(events),
    "text-link": TextLink,
    "friends": FriendsTaste,
    "terms": lambda _, sources: TermProfile(sources, 0.6),
    "als": lambda events, sources: ALS(events, sources, ALSOptions(width=8)),
    "bpr": lambda events, _: MatrixFactors(events, MatrixFactorsOptions(width=8, descent=SHORT)),
    "light-graph": lambda events, sources: LightGraph(events, sources, SOCIAL),
    "sasrec": lambda events, sources: Sasrec(events, sources.vectors_ID, SEQUENCE),
    "two-tower": lambda events, sources: TwoTower(events, sources, TOWERS),
}
