"""The project that `feast ui` shows: one namespace for all definitions of this repo."""

from feast import Project

from entities import OWNER

potluck = Project(
    name="potluck",
    description="Recommendations that fuse behaviour, item attributes, friends and text.",
    owner=OWNER,
)
