"""The registry is the model's schema: a feature service becomes a `FeatureSchema`.

In: a feature store and the name of a feature service, whose views and fields carry tags. Out: what
each of them means to a model. ValueErrors name the view or field and what to change.
"""

from typing import get_args

from feast import FeatureStore, FeatureView, Field
from feast.errors import FeatureServiceNotFoundException
from feast.feature_view_projection import FeatureViewProjection

from training.schema import EntityName, FeatureSchema, FieldSpec, Kind, ViewSpec

INTEGERS = ("Int32", "Int64")
FLOATS = ("Float32", "Float64")
INTEGER_LISTS = ("Array(Int32)", "Array(Int64)")
FLOAT_LISTS = ("Array(Float32)", "Array(Float64)")

# Feast types a kind can be made of; "ignore" takes anything.
TYPES_OF_KIND: dict[str, tuple[str, ...]] = {
    "categorical": ("String", "Bool", *INTEGERS),
    "numeric": ("Bool", *INTEGERS, *FLOATS),
    "counter": (*INTEGERS, *FLOATS),
    "embedding": FLOAT_LISTS,
    "sequence": ("Array(String)", *INTEGER_LISTS),
    "text": ("String",),
    "time": ("UnixTimestamp", "Int64"),
    "clock": ("UnixTimestamp", "Int64"),
}
KIND_OF_TYPE: dict[str, Kind] = {
    "String": "categorical",
    **dict.fromkeys(("Bool", *INTEGERS, *FLOATS), "numeric"),
    **dict.fromkeys(FLOAT_LISTS, "embedding"),
    "Array(String)": "sequence",
    "UnixTimestamp": "time",
}


def read_schema(store: FeatureStore, service: str) -> FeatureSchema:
    """Derive the model's inputs from a feature service in the registry.

    A view needs the tags `source` and `entity` (user or item). A field's kind is its tag `kind`, or
    follows from its type: String is categorical, numbers are numeric, a list of floats is an
    embedding, a list of strings a sequence, a timestamp a time. ValueError says which view or field
    cannot be read and what to change.
    """
    try:
        registered = store.get_feature_service(service)
    except FeatureServiceNotFoundException:
        names = ", ".join(sorted(known.name for known in store.list_feature_services())) or "none"
        raise ValueError(
            f"feature service '{service}' is not in the registry (has: {names}); run "
            f"`feast -c {store.repo_path or 'feature_repo'} apply`"
        ) from None
    projections = registered.feature_view_projections
    views = tuple(read_view(store, service, projection) for projection in projections)
    return FeatureSchema(service=service, views=views)


def read_view(store: FeatureStore, service: str, projection: FeatureViewProjection) -> ViewSpec:
    """Read one view of the service, with only the features that the service asks for."""
    where = f"feature view '{projection.name}' of service '{service}'"
    if projection.name_to_use() != projection.name or projection.join_key_map:
        raise ValueError(
            f"{where} is renamed or has its join key mapped, which training cannot follow; "
            "define a view of its own over the same source"
        )
    view = store.registry.get_any_feature_view(projection.name, store.project, allow_cache=True)
    if not isinstance(view, FeatureView):
        raise ValueError(f"{where} is computed on demand; write its values to a batch view instead")
    source, entity = view.tags.get("source", ""), view.tags.get("entity", "")
    if not source:
        raise ValueError(f"{where} has no tag 'source'; add e.g. tags={{'source': 'behaviour'}}")
    if entity not in get_args(EntityName):
        raise ValueError(f"{where} has tag entity={entity!r}; say 'user' or 'item'")
    if len(view.join_keys) != 1:
        raise ValueError(
            f"{where} has {len(view.join_keys)} join keys ({', '.join(view.join_keys)}); "
            "a model input belongs to one user or one item"
        )
    spec = ViewSpec.model_validate(
        {
            "name": projection.name,
            "source": source,
            "entity": entity,
            "join_key": view.join_keys[0],
            "fields": tuple(read_field(where, view.name, field) for field in projection.features),
        }
    )
    check_fields(where, spec)
    return spec


def read_field(where: str, view: str, field: Field) -> FieldSpec:
    """Read one field; ValueError when its tags or its type make no model input."""
    where = f"field '{field.name}' of {where}"
    dtype = str(field.dtype)
    kind = field.tags.get("kind") or KIND_OF_TYPE.get(dtype)
    if kind is None:
        raise ValueError(f"{where} has type {dtype}, whose kind must be said: tag it 'kind: ...'")
    if kind not in get_args(Kind):
        raise ValueError(f"{where} has unknown kind '{kind}' (known: {', '.join(get_args(Kind))})")
    if kind != "ignore" and dtype not in TYPES_OF_KIND[kind]:
        allowed = ", ".join(TYPES_OF_KIND[kind])
        raise ValueError(f"{where} is of kind '{kind}' but of type {dtype} (can be: {allowed})")
    values: dict[str, object] = {"name": field.name, "kind": kind}
    if kind == "counter":
        values |= {
            "half_life_days": number_tag(where, field, "half_life_days"),
            "clock": required_tag(where, field, "clock"),
        }
    if kind in ("categorical", "sequence"):
        values["vocabulary"] = field.tags.get("vocabulary") or f"{view}.{field.name}"
    if kind == "embedding" and "dims" in field.tags:
        values["dims"] = int(number_tag(where, field, "dims"))
    elif kind == "embedding":
        values["dims"] = field.vector_length or None
    if kind == "numeric":
        values["logarithmic"] = dtype in INTEGERS
    return FieldSpec.model_validate(values)


def required_tag(where: str, field: Field, tag: str) -> str:
    """The value of a tag that must be there."""
    value = field.tags.get(tag)
    if not value:
        raise ValueError(f"{where} needs the tag '{tag}', and it is missing or empty")
    return str(value)


def number_tag(where: str, field: Field, tag: str) -> float:
    """The value of a tag that must be a number above zero."""
    value = required_tag(where, field, tag)
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise ValueError(f"{where} has tag {tag}={value!r}; it must be a number above zero")
    return number


def check_fields(where: str, view: ViewSpec) -> None:
    """Check what one field says about another: a counter's clock must be in the view."""
    clocks = {field.name for field in view.of_kind("clock")}
    for counter in view.of_kind("counter"):
        if counter.clock not in clocks:
            has = ", ".join(sorted(clocks)) or "none"
            raise ValueError(
                f"counter '{counter.name}' of {where} has clock '{counter.clock}', which is not "
                f"among the service's fields of kind 'clock' in that view ({has})"
            )
    if not view.inputs:
        raise ValueError(
            f"{where} has no field that a model can read (all are text or ignore); "
            "tag one with a kind, or take the view out of the service"
        )
