"""Which machine a run was made on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


def facts() -> dict[str, Any]:
    """The machine, what else keeps it busy, and the revision that is measured."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}, {_distribution()}",
        "python": platform.python_version(),
        "revision": _revision(),
        "load_before": [round(each, 2) for each in os.getloadavg()],
    }


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.processor()


def _distribution() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', _text("/etc/os-release"), re.MULTILINE)
    return found[1] if found else "unknown"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return asked.stdout.strip() or "unknown"
