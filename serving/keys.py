"""API keys: who may ask what. A file holds each key's hash and scopes, never the key.

`python -m serving.keys --name shop --scopes read feedback` makes a key: it prints the key once, and
the lines for the file. Keys are random and long, so that a plain hash keeps them.
"""

import argparse
import hashlib
import secrets
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Scope = Literal["read", "feedback", "admin"]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Key(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the key, in hexadecimal."""
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    """`read`: slates, explanations, items, users; `feedback`: /v1/feedback; `admin`: everything."""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class KeyRing:
    """Finds the key that a request carries."""

    def __init__(self, keys: dict[str, Key]) -> None:
        self._keys = keys
        self._names = {key.sha256: name for name, key in keys.items()}

    def find(self, token: str) -> tuple[str, Key] | None:
        """The key's name and what it may do; the hash is looked up, so timing tells nothing."""
        name = self._names.get(hashed(token))
        return None if name is None else (name, self._keys[name])


def read_keys(path: Path) -> KeyRing:
    """A YAML file of `name: {sha256: ..., scopes: [...]}`; ValueError names what is wrong."""
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        return KeyRing(TypeAdapter(dict[str, Key]).validate_python(given))
    except (yaml.YAMLError, ValidationError) as error:
        fix = "`python -m serving.keys --name NAME --scopes read` prints an entry"
        raise ValueError(f"API keys in {path}: {error}; {fix}") from error


def check_exposure(host: str, *, asks_for_keys: bool) -> None:
    """ValueError for a server that others can reach and that asks for no key."""
    if not asks_for_keys and host not in LOOPBACK:
        raise ValueError(
            f"the server listens on {host}, which others can reach, without API keys; give "
            "api_keys=FILE (see `python -m serving.keys --help`), or listen on 127.0.0.1"
        )


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serving.keys", description=__doc__)
    parser.add_argument("--name", required=True, help="who the key is for")
    parser.add_argument("--scopes", nargs="+", required=True, choices=get_args(Scope))
    options = parser.parse_args()
    token = secrets.token_urlsafe(32)
    print(f"# the key, shown once; requests carry it as `Authorization: Bearer KEY`: {token}")
    print(yaml.safe_dump({options.name: {"sha256": hashed(token), "scopes": options.scopes}}))


if __name__ == "__main__":
    main()
