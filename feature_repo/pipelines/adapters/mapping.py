"""The YAML page that says which columns of a user's own files mean what.

In: a YAML file. Out: a `Mapping`, checked: an unknown key, an unknown canonical column, a rule that
cannot be meant is a `DataError` that names the place. Nothing is read here but the page itself.
`examples/mappings/` has four complete pages, commented line by line.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from feature_repo.pipelines.delimited import Dialect
from feature_repo.pipelines.tables import SCHEMAS, DataError, Instant

TableName = Literal["users", "items", "interactions", "edges", "documents"]
REQUIRED = {
    "users": ("user_id",),
    "items": ("item_id",),
    "interactions": ("user_id", "item_id", "action"),
    "edges": ("source_id", "target_id", "kind"),
    "documents": ("kind", "text"),
}
TIME_COLUMNS = ("joined_at", "available_at", "timestamp", "valid_from")
LIST_COLUMNS = ("categories",)
NUMBER_COLUMNS = ("value", "price")
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}


def _as_text(value: object) -> object:
    """YAML reads 5 as a number and yes as a truth value; in files all of them are text."""
    if isinstance(value, bool):
        raise ValueError(f"YAML reads this as {value}; put the word in quotation marks")
    return str(value) if isinstance(value, int | float) else value


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Text = Annotated[str, BeforeValidator(_as_text)]
Texts = Annotated[list[Text], BeforeValidator(_as_list), Field(min_length=1)]


class Page(BaseModel):
    """What all parts of the page have in common: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TimeRule(Page):
    """How a column writes instants."""

    format: str = "iso"
    """`iso` (2024-05-01, 2024-05-01T10:00:00+02:00), `epoch_s`, `epoch_ms` or `epoch_us` (since
    1970), or a pattern of Python's strptime such as `%d.%m.%Y %H:%M`."""
    zone: str = "UTC"
    """Where the clock hung that wrote instants without an offset, for example `Europe/Berlin`."""

    @field_validator("format")
    @classmethod
    def _known_format(cls, text: str) -> str:
        if text != "iso" and text not in EPOCHS and "%" not in text:
            known = ", ".join(["iso", *EPOCHS])
            raise ValueError(f"{text!r} is none of {known}, and no strptime pattern (has no %)")
        return text

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{name!r} is not a time zone (try Europe/Berlin)") from error
        return name


class ColumnRule(Page):
    """Where the values of one canonical column come from: a column of the file, or a constant."""

    column: str | None = None
    """The file's column; `author.id` reaches into the nested objects of JSON lines and Parquet."""
    constant: Text | None = None
    """The same value for each row."""
    values: dict[Text, Text] | None = None
    """The file's values and ours. One that is not listed rejects its row, unless `otherwise`."""
    otherwise: Text | None = None
    time: TimeRule | None = None
    separator: str | None = Field(default=None, min_length=1)
    """Splits a text into the values of a list column."""
    decimal: Literal[".", ","] = "."
    """The decimal sign; with `,` a point separates thousands."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: object) -> object:
        """`user_id: customer` means `user_id: {column: customer}`; `time: epoch_s` a format."""
        if isinstance(given, str):
            return {"column": given}
        if isinstance(given, dict) and isinstance(given.get("time"), str):
            return given | {"time": {"format": given["time"]}}
        return given

    @model_validator(mode="after")
    def _one_origin(self) -> ColumnRule:
        if (self.column is None) == (self.constant is None):
            raise ValueError("give either `column` or `constant`")
        if self.otherwise is not None and self.values is None:
            raise ValueError("`otherwise` needs `values`")
        return self


class PositiveRule(Page):
    """Which events are take-ups: those with one of `actions`, and those whose column is high."""

    actions: Texts | None = None
    """Canonical actions, that is after `values` has been applied."""
    column: str | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _complete(self) -> PositiveRule:
        if (self.column is None) != (self.at_least is None):
            raise ValueError("`column` and `at_least` go together")
        if self.actions is None and self.column is None:
            raise ValueError("give `actions`, or `column` and `at_least`, or leave `positive` out")
        return self


class FileRule(Page):
    """One kind of file that feeds a table."""

    files: Texts
    """Names or patterns (`orders/*.csv`), relative to the source folder."""
    format: Literal["csv", "jsonl", "parquet"] | None = None
    """None: by the ending (.csv, .tsv, .txt; .jsonl, .ndjson; .parquet)."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """None: a tab for .tsv, else a comma."""
    encoding: str = "utf-8"
    """Of CSV. Rows with bytes that are not text in it are rejected and counted."""
    only: dict[str, Texts] = Field(default_factory=dict)
    """Uses only rows in which these columns have one of these values."""
    columns: dict[str, ColumnRule]
    """Canonical column: where it comes from."""
    positive: PositiveRule | None = None
    """Interactions only. None: each event is a take-up."""
    timed: bool = True
    """Interactions only. False: the file has no times; such events never enter time splits."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        return Dialect(encoding=encoding).encoding

    def source_columns(self) -> list[str]:
        """The columns of the file that are needed, each once."""
        named = [rule.column for rule in self.columns.values()]
        named += [self.positive.column if self.positive else None, *self.only]
        return list(dict.fromkeys(name for name in named if name is not None))

    def list_columns(self) -> set[str]:
        """The columns of the file that may hold lists (with a separator they are text)."""
        return {
            rule.column
            for name, rule in self.columns.items()
            if name in LIST_COLUMNS and rule.column is not None and rule.separator is None
        }

    @model_validator(mode="after")
    def _lists_apart(self) -> FileRule:
        others = [r.column for name, r in self.columns.items() if name not in LIST_COLUMNS]
        if shared := self.list_columns() & {*others, *self.only}:
            raise ValueError(
                f"{sorted(shared)[0]!r} is used as a list and as a single value; the first of "
                "`categories` is the `category` anyway, so leave that out"
            )
        return self


FileRules = Annotated[list[FileRule], BeforeValidator(_as_list), Field(min_length=1)]


class Mapping(Page):
    """The whole page."""

    about: str
    """Where the data come from, in words for people; reports show it."""
    time_resolution: Literal["exact", "day", "month", "order"] = "exact"
    snapshot_at: Instant | None = None
    """When the data were taken; later instants are rejected. None: the time of the build."""
    value_bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Lowest and highest allowed value of an action."""
    tables: dict[TableName, FileRules]

    @model_validator(mode="after")
    def _fits_the_tables(self) -> Mapping:
        if "interactions" not in self.tables:
            raise ValueError("tables: `interactions` is missing; there is nothing to learn from")
        for table, rules in self.tables.items():
            for i, rule in enumerate(rules):
                try:
                    _check_columns(table, rule)
                except ValueError as error:
                    raise ValueError(f"tables.{table}.{i}: {error}") from error
        return self


def _check_columns(table: str, rule: FileRule) -> None:
    known = [name for name in SCHEMAS[table].names if name != "timed"]
    for name, column in rule.columns.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{name!r} is not a column of {table} (has: {', '.join(known)}){hint}")
        _check_kind(name, column)
    missing = [name for name in REQUIRED[table] if name not in rule.columns]
    if table == "interactions" and rule.timed and "timestamp" not in rule.columns:
        raise ValueError("`timestamp` is missing; if the file has no times, say `timed: false`")
    if missing:
        raise ValueError(f"columns: {', '.join(missing)} must be given")
    if table != "interactions" and (rule.positive or not rule.timed):
        raise ValueError("`positive` and `timed` are for interactions only")
    if rule.positive and "is_positive" in rule.columns:
        raise ValueError("give `positive` or the column `is_positive`, not both")


def _check_kind(name: str, column: ColumnRule) -> None:
    if column.time and name not in TIME_COLUMNS:
        raise ValueError(f"{name}: `time` is for {', '.join(TIME_COLUMNS)}")
    if column.separator and name not in LIST_COLUMNS:
        raise ValueError(f"{name}: `separator` is for {', '.join(LIST_COLUMNS)}")
    if column.decimal != "." and name not in NUMBER_COLUMNS:
        raise ValueError(f"{name}: `decimal` is for {', '.join(NUMBER_COLUMNS)}")


class _UniqueKeys(yaml.SafeLoader):
    """YAML keeps the last of two equal keys and says nothing; here the second is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> Mapping:
    """Read and check the page; raises `DataError` with the place of the first mistakes."""
    if not path.is_file():
        raise DataError(f"the mapping {path} does not exist; examples are in examples/mappings")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as YAML: {error}") from error
    try:
        return Mapping.model_validate(tree)
    except ValidationError as error:
        raise DataError(f"{path}: {_readable(error)}") from error


def _readable(error: ValidationError) -> str:
    messages = []
    for mistake in error.errors()[:5]:
        place = ".".join(str(part) for part in mistake["loc"])
        said = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            said = "unknown key"
        messages.append(f"{place}: {said}" if place else said)
    return "; ".join(messages)
