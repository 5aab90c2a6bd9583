"""The sink's SQL by name, from `sinks/sql/sink.sql`."""

from __future__ import annotations

from pathlib import Path

from sluice.sql import load_queries

SQL = load_queries(Path(__file__).parent / "sql" / "sink.sql")
