"""Fetch the servers once: Maven downloads the pinned versions, every file is held to a known checksum.

 1. Take the lock of the cache, so that two that prepare at once become one that waits.
 2. Maven copies all files into a draft directory (its own checksum policy is strict).
 3. Every file must have its line in servers.sha256 and agree with it. If not, or if Maven fails in a
    way that a damaged local repository explains, once more with a fresh repository of our own.
 4. Unpack, write down every file and its size, and rename the draft to its final name.
The final name is derived from the pom and the checksums: another version is another directory, and a
directory by that name whose listed files are all there is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.local import maven
from cli.local.failures import FetchFailed, LocalStackFailed, PlatformUnsupported, disk_errors
from cli.local.layout import Layout, require_space

# Download, Maven's own copy and the unpacked servers together; measured: 0.75 GB.
NEEDED_MEGABYTES = 1_000
MANIFEST = "complete.json"

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}
_PLATFORMS = ("linux-amd64", "linux-arm64v8", "darwin-amd64", "darwin-arm64v8")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Servers:
    """The unpacked servers."""

    root: Path

    @property
    def kafka_classpath(self) -> str:
        return str(self.root / "kafka" / "*")

    @property
    def postgres(self) -> Path:
        """The directory with bin, lib and share."""
        return self.root / "postgres"

    @property
    def s3proxy(self) -> Path:
        return self.root / "archives" / "s3proxy.jar"

    @property
    def registry(self) -> Path:
        """The jar that starts the registry."""
        return self.root / "registry" / "quarkus-run.jar"


def this_platform() -> str:
    """The name of this machine among the PostgreSQL binaries. Raises PlatformUnsupported."""
    machine = platform.machine().lower()
    name = f"{sys.platform}-{_MACHINES.get(machine, machine)}"
    if name not in _PLATFORMS:
        raise PlatformUnsupported(platform=name)
    return name


def fetched(layout: Layout) -> Servers | None:
    """The servers, if they are all there."""
    root = layout.servers / _fingerprint(layout)
    return Servers(root) if _is_whole(root) else None


def fetch(layout: Layout, say: Say) -> Servers:
    """The servers, downloaded when they are missing or damaged. Raises LocalStackFailed."""
    found = fetched(layout)
    if found is not None:
        return found
    with disk_errors(layout.servers, "SLUICE_SERVERS_DIR"):
        layout.servers.mkdir(parents=True, exist_ok=True)
        with _locked(layout.servers / ".lock", say):
            return fetched(layout) or _fetch(layout, say)


def _fetch(layout: Layout, say: Say) -> Servers:
    require_space(layout.servers, NEEDED_MEGABYTES)
    final = layout.servers / _fingerprint(layout)
    draft = layout.servers / ".draft"
    log = layout.servers / "fetch.log"
    log.unlink(missing_ok=True)
    shutil.rmtree(draft, ignore_errors=True)
    say("Fetching Kafka, PostgreSQL, S3Proxy and Apicurio Registry with Maven (270 MB, once) ...")
    try:
        _download(layout, draft, log, say)
        say("Unpacking ...")
        _unpack(draft)
        _write_manifest(draft)
        shutil.rmtree(final, ignore_errors=True)
        draft.rename(final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Servers(final)


def _download(layout: Layout, draft: Path, log: Path, say: Say) -> None:
    """Steps 2 and 3: first with the user's repository, then with a fresh one."""
    pom, sums = _pom(layout), _sums(layout)
    try:
        maven.copy_servers(pom, draft, this_platform(), log)
        verify(draft, sums, log)
    except FetchFailed as failure:
        if not failure.facts.get("again"):
            raise
        say(f"The download was broken ({failure.facts['reason']}); once more, from the start ...")
        shutil.rmtree(draft, ignore_errors=True)
        repository = draft / "repository"
        repository.mkdir(parents=True)
        maven.copy_servers(pom, draft, this_platform(), log, repository=repository)
        shutil.rmtree(repository)
        verify(draft, sums, log)


def verify(directory: Path, sums: Path, log: Path) -> None:
    """Raise FetchFailed unless the files in `directory` are exactly the known ones."""
    expected = _expected(sums)
    actual = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            problem = f"{name} is missing"
        elif name not in expected:
            problem = f"{name} is not expected"
        elif _sha256(actual[name]) != expected[name]:
            problem = f"{name} is damaged"
        else:
            continue
        raise FetchFailed(reason=problem, remedy="try again.", log=log, again=True)


def _expected(sums: Path) -> dict[str, str]:
    """Checksum by file, without the binaries of other platforms."""
    mine = f"archives/postgres-{this_platform()}.jar"
    lines = (line.split() for line in sums.read_text("ascii").splitlines() if line.strip())
    return {
        name: checksum
        for checksum, name in lines
        if not name.startswith("archives/postgres-") or name == mine
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(draft: Path) -> None:
    archives = draft / "archives"
    postgres = archives / f"postgres-{this_platform()}.jar"
    with zipfile.ZipFile(postgres) as jar:
        (inner,) = (name for name in jar.namelist() if name.endswith(".txz"))
        jar.extract(inner, archives)
    _extract(archives / inner, draft / "postgres")
    _extract(archives / "registry.tar.gz", draft / "registry")
    for used in (postgres, archives / inner, archives / "registry.tar.gz"):
        used.unlink()


def _extract(archive: Path, into: Path) -> None:
    into.mkdir()
    try:
        with tarfile.open(archive) as tar:
            # Python 3.11.4 and later refuse members that reach outside; the checksums vouch for the rest.
            if hasattr(tarfile, "data_filter"):
                tar.extractall(into, filter="data")
            else:
                tar.extractall(into)  # noqa: S202
    except tarfile.CompressionError as error:
        raise LocalStackFailed(
            problem=f"This Python cannot unpack {archive.suffix} files ({error}): "
            "use one that was built with liblzma."
        ) from error


def _write_manifest(draft: Path) -> None:
    sizes = {str(path.relative_to(draft)): path.stat().st_size for path in _files(draft)}
    manifest = draft / MANIFEST
    manifest.write_text(json.dumps(sizes), encoding="utf-8")
    # A power cut must not leave a name that promises more than the disk holds.
    os.sync()


def _is_whole(root: Path) -> bool:
    """Whether every listed file is there in its size."""
    try:
        sizes = json.loads((root / MANIFEST).read_text("utf-8"))
        return all((root / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)


def _pom(layout: Layout) -> Path:
    return layout.project / "deploy" / "local" / "pom.xml"


def _sums(layout: Layout) -> Path:
    return layout.project / "deploy" / "local" / "servers.sha256"


def _fingerprint(layout: Layout) -> str:
    """The name of the directory that holds these versions for this machine."""
    digest = hashlib.sha256(this_platform().encode())
    for path in (_pom(layout), _sums(layout)):
        if not path.is_file():
            raise LocalStackFailed(
                problem=f"{path} is missing: run `sluice up` from a checkout, or use `docker compose up`."
            )
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock of the cache; it is let go when this process ends, however it ends."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another process is fetching the servers; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
