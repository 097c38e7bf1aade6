"""The point-in-time join in partitions: labels and rows are split by key and meet in tasks.

In: an entity frame in runs, and view requests. Out: Parquet shards, one a run of labels, or join
pointers. Whoever asks holds references and file names; labels, features and results pass from task
to task: between Ray's workers, or through files where one machine has too little memory. A view of
one partition is not split: each run of labels meets it whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from itertools import chain
from math import ceil

import numpy as np
import pyarrow as pa

from feature_repo.plugins.as_of import as_pointers
from feature_repo.plugins.entity_frame import EntityFrame
from feature_repo.plugins.partition_plan import PartitionOptions, ViewPlan, plan_view, shard_rows
from feature_repo.plugins.partitions import (
    LabelSide,
    match_partition,
    row_numbers,
    split_labels,
    split_rows,
)
from feature_repo.plugins.pointers import Pointers, ViewPointers
from feature_repo.plugins.shards import Shard, ViewColumns, write_shard
from feature_repo.plugins.tasks import Reference, Tasks
from feature_repo.plugins.view_request import ViewRequest

SENT_BYTES = 10**6
"""Of labels, that one task sends to one partition. Below a tenth of it Ray would send them by way
of the driver."""
_LABEL_BYTES = 24  # key, instant, number


@dataclass(frozen=True)
class LabelRuns:
    """An entity frame in runs of rows."""

    runs: list[Reference]
    num_rows: list[int]
    head: EntityFrame
    """Without rows: the columns, and which of them is the time."""
    span: tuple[datetime, datetime] | None
    """The first and the last instant."""


class PartitionedJoin:
    """One retrieval, whose entity frame is read once."""

    def __init__(
        self,
        frames: Callable[[int], Iterator[EntityFrame]],
        requests: Sequence[ViewRequest],
        repo_path: str,
        options: PartitionOptions,
        tasks: Callable[[], Tasks],
    ) -> None:
        """frames: the entity frame in runs of so many rows, at least one run. tasks: starts what
        runs the steps, when there is something to run."""
        self._frames = frames
        self._requests = requests
        self._repo_path = repo_path
        self._options = options
        self._start_tasks = tasks

    @cached_property
    def tasks(self) -> Tasks:
        return self._start_tasks()

    @cached_property
    def labels(self) -> LabelRuns:
        rows = shard_rows(self._wide_plans, self._options)
        runs, num_rows = [], []
        ends: list[datetime] = []
        for frame in self._frames(rows):
            # One run at a time is held here.
            runs.append(self.tasks.put(frame.table))
            num_rows.append(frame.table.num_rows)
            ends += frame.span() or ()
        head = EntityFrame(frame.table.slice(0, 0), frame.time_column)
        return LabelRuns(runs, num_rows, head, (min(ends), max(ends)) if ends else None)

    def write(
        self,
        folder: str,
        names: Sequence[tuple[str, ...]],
        finish: Callable[[pa.Table], pa.Table] | None,
    ) -> list[Shard]:
        """Write the joined rows and return the files, in the order of the labels.

        names: of each view's features in the result. finish: applied to each row group.
        """
        columns = [
            ViewColumns(shown, plan.num_partitions)
            for shown, plan in zip(names, self._wide_plans, strict=True)
        ]
        write = partial(self.tasks.submit_one, write_shard, folder)
        seen = zip(self.labels.runs, *self._match(self._wide_plans), strict=True)
        shards = [
            write(number, columns, finish, run, *chain(*of_views))
            for number, (run, *of_views) in enumerate(seen)
        ]
        return self.tasks.collect(shards)

    def pointers(self) -> Pointers:
        """Row numbers of all labels, here, and the entity frame. Features stay where they are."""
        plans = self._plans(pointers=True)
        views = {}
        for plan, seen in zip(plans, self._match(plans), strict=True):
            numbers = [
                self.tasks.submit_one(row_numbers, rows, *parts)
                for rows, parts in zip(self.labels.num_rows, seen, strict=True)
            ]
            rows = np.concatenate(self.tasks.collect(numbers))
            rows = as_pointers(rows, plan.num_rows)
            views[plan.request.name] = ViewPointers(rows, plan.features)
        return Pointers(pa.concat_tables(self.tasks.collect(self.labels.runs)), views)

    @cached_property
    def _wide_plans(self) -> list[ViewPlan]:
        """Of features, which the size of a shard depends on even where pointers are asked for."""
        return self._plans(pointers=False)

    def _plans(self, pointers: bool) -> list[ViewPlan]:
        cpus = self.tasks.num_cpus
        return [
            plan_view(request, self._repo_path, self._options, cpus, pointers)
            for request in self._requests
        ]

    def _match(self, plans: Sequence[ViewPlan]) -> list[list[list[Reference]]]:
        """For each view and each run of labels what the run sees in each partition."""
        split: dict[tuple[LabelSide, int], list[list[Reference]]] = {}
        seen = []
        for plan in plans:
            side = plan.labels(self.labels.head)
            key = (side, plan.num_partitions)
            if key not in split:
                split[key] = self._split_labels(*key)
            seen.append(self._match_view(plan, split[key]))
        return seen

    def _split_labels(self, side: LabelSide, num_partitions: int) -> list[list[Reference]]:
        """For each group of runs one result a partition."""
        runs, size = self.labels.runs, 1
        if num_partitions > 1:
            bytes_sent = max(self.labels.num_rows) * _LABEL_BYTES / num_partitions
            size = ceil(SENT_BYTES / max(bytes_sent, 1))
        groups = [runs[start : start + size] for start in range(0, len(runs), size)]
        split = partial(self.tasks.submit, split_labels, num_partitions, side, num_partitions)
        return [split(*group) for group in groups]

    def _match_view(self, plan: ViewPlan, labels: list[list[Reference]]) -> list[list[Reference]]:
        """For each run of labels what it sees in each partition. labels: [group][partition]."""
        side, count, submit = plan.side, plan.num_partitions, self.tasks.submit
        rows = [submit(split_rows, count, side, count, piece) for piece in plan.pieces]
        if count == 1:
            whole = [part for (part,) in rows]
            return [submit(match_partition, 1, side, 1, run, *whole) for (run,) in labels]
        num_runs = len(self.labels.runs)
        of_partitions = [
            submit(match_partition, num_runs, side, len(labels), *groups, *pieces)
            for groups, pieces in zip(
                zip(*labels, strict=True), zip(*rows, strict=True), strict=True
            )
        ]
        return [list(parts) for parts in zip(*of_partitions, strict=True)]
