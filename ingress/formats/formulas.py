"""Cells that a spreadsheet would run: made harmless on the way out, and themselves again on the way back."""

from __future__ import annotations

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection"); the full-width signs are
# taken for the plain ones where Chinese or Japanese is written.
LIVE = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# A cell's own apostrophe gets one more, so that the one in front is always ours to take off.
_PREFIXED = (*LIVE, "'")


def harmless(cell: str) -> str:
    """The cell as text that no spreadsheet runs: an apostrophe before what would be a formula.

    `original` takes it off again, from every cell.
    """
    return f"'{cell}" if cell.startswith(_PREFIXED) else cell


def original(cell: str) -> str:
    """The inverse of `harmless`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_PREFIXED) else cell
