"""The patch "environment": other settings than the supervisor gave, such as the address of a proxy."""

from __future__ import annotations

import os

from tests.chaos.patches import Entry, patch


@patch("environment")
def rewrite_environment(entry: Entry) -> None:
    """`set`: the variables and their values. They are read when the role's program starts, after this."""
    os.environ.update(entry.options["set"])
