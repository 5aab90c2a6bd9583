"""A file's summary for its owner, from its rows chunk by chunk; memory is flat whatever the file's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from ingress.analysis.columns import JUDGED, Columns
from ingress.formats.rows import RowChunk
from sluice.events import ImportOptions
from sluice.mapping.proposals import Proposal, propose
from sluice.mapping.sample import judge_sample

SAMPLE_ROWS = 1_000
"""Rows that are kept for the preview (S1-030)."""
SAMPLE_BYTES = 1536 * 1024
"""All rows of the sample as they are shown, as JSON, with their columns' names in each: wide files keep fewer
rows, at least one. They are kept twice, beside the columns' summary, and all of it has to go into one value
of the state."""


class Analysis:
    """`add` the chunks in order; the proposals are there with the first. Close it, or use `with`.

    `options` are the job's, without a mapping; `remembered` is what its organization chose for these columns
    before.
    """

    def __init__(
        self, columns: Sequence[str], options: ImportOptions, remembered: Mapping[str, Any] | None
    ) -> None:
        self.rows = 0
        self._names = list(columns)
        self._options = options
        self._remembered = None if remembered is None else plain(remembered)
        self._columns = Columns(columns, options.region)
        self._proposals: list[Proposal] = []
        self._sample: list[list[str]] = []
        self._lines: list[int] = []
        self._shown: list[dict[str, Any]] = []
        self._faults: dict[str, str] = {}
        self._bytes = 0
        self._full = False
        self._valid = 0

    def __enter__(self) -> Analysis:
        return self

    def __exit__(self, *reason: object) -> None:
        self._columns.close()

    def add(self, chunk: RowChunk) -> None:
        """Take in whole rows."""
        if not self.rows:
            self._propose(chunk)
        width = len(self._names)
        rows = [row[:width] for row in chunk.rows]
        self._columns.add(rows, chunk.lines)
        faults = {fault.index: fault.message for fault in chunk.faults}
        for index, verdict in enumerate(judge_sample(self._names, rows, self._options)):
            messages = [error.message for error in verdict.errors]
            if index in faults:
                messages = [faults[index]]
            self._valid += not messages
            if not self._full:
                self._keep(rows[index], chunk.lines[index], messages, faulty=index in faults)
        self.rows += len(rows)

    def progress(self) -> dict[str, Any]:
        """What is told while the file is read."""
        return {
            "status": "analyzing",
            "processed": self.rows,
            "total": None,
            "proposals": msgspec.to_builtins(self._proposals),
        }

    def summary(self) -> dict[str, Any]:
        """`AnalysisSummary` (S1-018), its rows judged under the proposed mapping.

        `sourceRows`, `rowLines` and `rowFaults` (message by place from 0) are the sample as it was read, from
        which every mapping starts again.
        """
        return {
            "totalRows": self.rows,
            "validRows": self._valid,
            "invalidRows": self.rows - self._valid,
            "columns": self._names,
            "columnSummary": self._columns.summary(),
            "sampleRows": self._shown,
            "sourceRows": self._sample,
            "rowLines": self._lines,
            "rowFaults": self._faults,
            "proposals": msgspec.to_builtins(self._proposals),
        }

    def _propose(self, chunk: RowChunk) -> None:
        """The first rows propose: who waits for it waits no longer than for a page of the file."""
        samples = {
            name: [row[index][:JUDGED] for row in islice(chunk.rows, SAMPLE_ROWS)]
            for index, name in enumerate(self._names)
        }
        self._proposals = propose(self._names, samples, self._remembered, self._options.region)
        mapping = {each.column: each.field for each in self._proposals if each.field is not None}
        self._options = msgspec.structs.replace(self._options, mapping=mapping)

    def _keep(self, row: list[str], line: int, messages: list[str], *, faulty: bool) -> None:
        shown = {
            **dict(zip(self._names, row, strict=True)),
            "_rowIndex": len(self._sample) + 1,
            "_isValid": not messages,
            "_errors": messages,
        }
        self._bytes += len(msgspec.json.encode(shown))
        if self._sample and self._bytes > SAMPLE_BYTES:
            self._full = True
            return
        if faulty:
            self._faults[str(len(self._sample))] = messages[0]
        self._sample.append(row)
        self._lines.append(line)
        self._shown.append(shown)
        self._full = len(self._sample) == SAMPLE_ROWS


def plain(mapping: Mapping[str, Any]) -> dict[str, str]:
    """A chosen mapping as columns to fields; of the rich form, the fields that are one column as it is."""
    fields = mapping.get("fields")
    if not isinstance(fields, Mapping):
        return {column: field or "" for column, field in mapping.items()}
    ignored = dict.fromkeys(mapping.get("ignored", ()), "")
    return ignored | {column: field for field, column in fields.items() if isinstance(column, str)}
