"""Feature rows of the training period, for fitting the encoder.

In: a feature store and a schema. Out: by view, the rows written before an instant. This is the one
read of features that is not a point-in-time join; it goes through the offline store's own pull, as
Feast's materialisation does.
"""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from feast import FeatureStore

from training.schema import FeatureSchema, ViewSpec

BEGINNING = datetime(1, 1, 2, tzinfo=UTC)


def training_rows(
    store: FeatureStore, schema: FeatureSchema, train_end_at: datetime
) -> dict[str, pa.Table]:
    """The views' inputs in rows with a time strictly before `train_end_at`, by view."""
    last = train_end_at - timedelta(microseconds=1)
    return {view.name: pull(store, view, last) for view in schema.views}


def pull(store: FeatureStore, view: ViewSpec, last: datetime) -> pa.Table:
    """One view's inputs in rows up to and with an instant."""
    registered = store.get_feature_view(view.name)
    source = registered.batch_source
    names = [field.name for field in view.inputs]
    # A source may know a feature by another name; the pull speaks the source's.
    in_source = {feature: column for column, feature in source.field_mapping.items()}
    columns = [in_source.get(name, name) for name in names]
    job = store.provider.offline_store.pull_all_from_table_or_query(
        config=store.config,
        data_source=source,
        join_key_columns=[in_source.get(view.join_key, view.join_key)],
        feature_name_columns=columns,
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column or None,
        start_date=BEGINNING,
        end_date=last,
    )
    return job.to_arrow().select(columns).rename_columns(names)
