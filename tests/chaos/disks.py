"""Small disks of PostgreSQL's: a part of it on a memory disk that can be full and free again at will."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.chaos.signals import restarted, unattended

if TYPE_CHECKING:
    from tests.chaos.world import World

STOP_SECONDS = 30
FILL_ATTEMPTS = 50


class Disk:
    """A tmpfs. Full means that it is exactly as large as what is on it: that costs no memory."""

    def __init__(self, megabytes: int) -> None:
        """Raises pytest's Skipped where nothing may be mounted."""
        self._megabytes = megabytes
        self.path = Path(tempfile.mkdtemp(prefix="sluice-disk-"))
        done = _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(self.path))
        if done.returncode != 0:
            self.path.rmdir()
            pytest.skip(f"a memory disk needs the right to mount one: {done.stderr.strip()}")

    def fill(self) -> None:
        """Nothing more fits."""
        for _ in range(FILL_ATTEMPTS):
            numbers = os.statvfs(self.path)
            used = numbers.f_blocks - numbers.f_bfree
            # Refused when something was written in between.
            if self._resize(str(max(used, 1) * numbers.f_frsize)):
                return
        raise AssertionError(f"{self.path} is never full")

    def free(self) -> None:
        """There is room again."""
        assert self._resize(f"{self._megabytes}m")

    def remove(self) -> None:
        """Whoever used it has ended."""
        done = _run("umount", str(self.path))
        assert done.returncode == 0, done.stderr
        self.path.rmdir()

    def _resize(self, size: str) -> bool:
        return _run("mount", "-o", f"remount,size={size}", str(self.path)).returncode == 0


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def wal_disk(world: World, megabytes: int) -> Disk:
    """The disk of the write-ahead log, put in place while the server is down."""
    if "wal disk" not in world.kept:
        disk = _kept(world, "wal disk", megabytes)
        # So many segments are written in turn; the default would take a gigabyte.
        await world.database.execute("ALTER SYSTEM SET max_wal_size = '64MB'")
        await world.database.execute("ALTER SYSTEM SET min_wal_size = '32MB'")
        log = Path(await world.database.fetchval("SHOW data_directory")) / "pg_wal"
        owner = log.stat()
        os.chown(disk.path, owner.st_uid, owner.st_gid)
        server = world.stack.started("postgres")
        assert server is not None
        with unattended(world):
            os.kill(server.pid, signal.SIGINT)
            await _ended(server.pid)
            shutil.copytree(log, disk.path, dirs_exist_ok=True)
            for copied in disk.path.rglob("*"):
                os.chown(copied, owner.st_uid, owner.st_gid)
            shutil.rmtree(log)
            log.symlink_to(disk.path)
        await restarted(world, server)
        await world.ready()
    found: Disk = world.kept["wal disk"]
    return found


async def table_disk(world: World, megabytes: int, *tables: str) -> Disk:
    """A tablespace for these tables."""
    if "table disk" not in world.kept:
        disk = _kept(world, "table disk", megabytes)
        owner = Path(await world.database.fetchval("SHOW data_directory")).stat()
        os.chown(disk.path, owner.st_uid, owner.st_gid)
        await world.database.execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")
        for table in tables:
            await world.database.execute(f"ALTER TABLE {table} SET TABLESPACE small")
    found: Disk = world.kept["table disk"]
    return found


def _kept(world: World, name: str, megabytes: int) -> Disk:
    disk = world.kept[name] = Disk(megabytes)

    async def remove() -> None:
        # A disk that is in use cannot be taken away.
        disk.free()
        await asyncio.to_thread(world.stack.stop)
        disk.remove()

    world.exits.push_async_callback(remove)
    return disk


async def _ended(pid: int) -> None:
    """Return when a process has ended; its parent may not have noticed yet."""
    async with asyncio.timeout(STOP_SECONDS):
        with suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - no child of ours
                await asyncio.sleep(0.05)
