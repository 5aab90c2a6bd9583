"""Imported by every Python process whose PYTHONPATH names this directory, before its program starts.

Nothing happens but in a process that is `... run ROLE` under a plan (tests/chaos/patches/starting.py). What
goes wrong ends the process at once: a patch that is silently absent would be a fault that never was.
"""

from __future__ import annotations

import os
import sys
import traceback

UNUSABLE = 70
"""EX_SOFTWARE of sysexits.h."""

if "SLUICE_CHAOS_PLAN" in os.environ:
    try:
        from tests.chaos.patches import starting

        starting.patch_this_process(os.environ, sys.orig_argv)
    except BaseException:
        # Python itself would print an exception raised here, and go on.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(UNUSABLE)
