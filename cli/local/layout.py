"""Where the local stack keeps what: everything is under one directory, `.sluice/` of the checkout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.local.failures import DiskFull, disk_errors

# A new cluster, its logs and a few imports; measured: 0.2 GB after the demo.
NEEDED_MEGABYTES = 300


@dataclass(frozen=True)
class Layout:
    """The directories of one stack."""

    project: Path
    home: Path
    servers: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Layout:
        """The stack of this checkout, or of SLUICE_HOME; the binaries are shared by all."""
        project = Path(__file__).resolve().parents[2]
        home = Path(environment.get("SLUICE_HOME") or project / ".sluice").expanduser().absolute()
        cache = environment.get("SLUICE_SERVERS_DIR") or project / ".sluice" / "servers"
        servers = Path(cache).expanduser().absolute()
        return cls(project=project, home=home, servers=servers)

    @property
    def env_file(self) -> Path:
        """The settings of the stack as NAME=value, for its owner's eyes only."""
        return self.home / "env"

    @property
    def secrets_file(self) -> Path:
        """What the stack made up once and must not forget."""
        return self.home / "secrets"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def state(self) -> Path:
        """What the roles can rebuild, such as RocksDB."""
        return self.home / "state"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def temporary(self) -> Path:
        return self.home / "tmp"

    @property
    def state_file(self) -> Path:
        """Which processes make up the running stack."""
        return self.run / "stack.json"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.run / "supervisor.lock"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Create the directories. Raises NotWritable and DiskFull."""
        with disk_errors(self.home, "SLUICE_HOME"):
            self.home.mkdir(parents=True, exist_ok=True)
            for directory in (self.logs, self.data, self.state, self.run, self.temporary):
                directory.mkdir(exist_ok=True)
            probe = self.run / f".write-{os.getpid()}"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
        require_space(self.home, NEEDED_MEGABYTES)

    def clear_temporary(self) -> None:
        """Remove what killed servers left in their temporary directory."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(exist_ok=True)


def require_space(path: Path, megabytes: int) -> None:
    """Raise DiskFull when the disk of `path` has less than `megabytes` to give."""
    free = shutil.disk_usage(path).free // 1_000_000
    if free < megabytes:
        raise DiskFull(path=path, free_megabytes=free, needed_megabytes=megabytes)
