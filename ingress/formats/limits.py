"""What opening one file may cost; each number with its reason."""

from __future__ import annotations

import ctypes
import resource
import signal
import sys

import msgspec

# A sheet of 500,000 rows by 11 columns takes 0.65 GB of address space as xlsx (84 MB on disk) and 0.98 as ods
# (measured): twice the rows fit. Two cells in opposite corners of the grid would take 550 GB.
MEMORY_BYTES = 2 * 1024 * 1024 * 1024

# The same xlsx takes 8.3 s of processor time from start to the last row (measured), on a slow machine thrice.
PROCESSOR_SECONDS = 120

# Between two pieces of output: what the processor may take, on a machine that has two other things to do.
SILENT_SECONDS = 300.0

# A file's rows, stored: the largest upload (100 MB) and what compression adds to it. Strings that a workbook
# shares between its cells would make terabytes of a small file.
OUTPUT_BYTES = 1024 * 1024 * 1024

# The file, its own temporary one, the standard streams, and what the imports of the moment hold open.
OPEN_FILES = 32


# prctl(2): the signal that a process gets when the thread that started it ends.
PR_SET_PDEATHSIG = 1


class Limits(msgspec.Struct, frozen=True):
    """Of one child process; `max_rows` is the caller's own."""

    max_rows: int = 1_000_000
    memory_bytes: int = MEMORY_BYTES
    processor_seconds: int = PROCESSOR_SECONDS
    silent_seconds: float = SILENT_SECONDS
    output_bytes: int = OUTPUT_BYTES
    file_bytes: int = OUTPUT_BYTES


def limit_this_process(limits: Limits) -> None:
    """Bind this process to the limits, for ever: it can lower them, never raise them."""
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.processor_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # At the soft limit the processor's signal says why; what outlives it is killed a second later.
        resource.setrlimit(kind, (soft, soft + 1 if kind == resource.RLIMIT_CPU and soft != hard else soft))


def end_with_parent() -> None:
    """Have this process killed when its parent ends, however that ends. Linux alone can do that.

    Elsewhere it ends with its next line, which nobody takes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
