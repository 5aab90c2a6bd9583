"""Fetched files are exactly the known ones, and a damaged set is noticed."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from cli.local.failures import FetchFailed
from cli.local.fetch import MANIFEST, fetched, this_platform, verify
from cli.local.layout import Layout

PROJECT = Path(__file__).resolve().parents[3]
DEPLOY = PROJECT / "deploy" / "local"


@pytest.fixture(name="download")
def _download(tmp_path: Path) -> tuple[Path, Path]:
    """A download of two files and its list of checksums, another platform's binaries on it too."""
    directory = tmp_path / "download"
    (directory / "kafka").mkdir(parents=True)
    (directory / "kafka" / "a.jar").write_bytes(b"a")
    mine = directory / "archives" / f"postgres-{this_platform()}.jar"
    mine.parent.mkdir()
    mine.write_bytes(b"p")
    sums = tmp_path / "sums"
    sums.write_text(
        f"{hashlib.sha256(b'a').hexdigest()}  kafka/a.jar\n"
        f"{hashlib.sha256(b'p').hexdigest()}  archives/{mine.name}\n"
        f"{'0' * 64}  archives/postgres-other-machine.jar\n",
        "ascii",
    )
    return directory, sums


def test_the_known_files_pass(download: tuple[Path, Path], tmp_path: Path) -> None:
    """The binaries of other platforms are not asked for."""
    verify(*download, log=tmp_path / "log")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("kafka/a.jar", b"b", "kafka/a.jar is damaged"),
        ("kafka/a.jar", b"", "kafka/a.jar is damaged"),
        ("kafka/a.jar", None, "kafka/a.jar is missing"),
        ("kafka/evil.jar", b"x", "kafka/evil.jar is not expected"),
    ],
)
def test_any_other_file_is_refused(
    download: tuple[Path, Path], tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    """Damaged, cut short, missing or slipped in: the file is named, and a fresh download is worth a try."""
    path = download[0] / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(FetchFailed, match=problem) as caught:
        verify(*download, log=tmp_path / "log")
    assert caught.value.facts["again"] is True


def whole(layout: Layout) -> Path:
    """A directory that looks fetched, under the name that this version has."""
    servers = fetched(layout)
    assert servers is None
    layout.servers.mkdir(parents=True)
    # The name is not part of the interface: take it from where `fetched` looked.
    from cli.local.fetch import _fingerprint

    root = layout.servers / _fingerprint(layout)
    (root / "kafka").mkdir(parents=True)
    (root / "kafka" / "a.jar").write_bytes(b"four")
    (root / MANIFEST).write_text(json.dumps({"kafka/a.jar": 4}), "utf-8")
    return root


def test_a_whole_set_is_used_as_it_is(tmp_path: Path) -> None:
    """Nothing is fetched twice."""
    layout = Layout(PROJECT, tmp_path, tmp_path / "servers")
    root = whole(layout)
    found = fetched(layout)
    assert found is not None
    assert found.root == root


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest"])
def test_a_damaged_set_is_no_set(tmp_path: Path, damage: str) -> None:
    """A file cut short, a file gone, or a list that cannot be read: it is fetched again."""
    layout = Layout(PROJECT, tmp_path, tmp_path / "servers")
    root = whole(layout)
    match damage:
        case "cut":
            (root / "kafka" / "a.jar").write_bytes(b"fo")
        case "gone":
            (root / "kafka" / "a.jar").unlink()
        case _:
            (root / MANIFEST).write_text("{", "utf-8")
    assert fetched(layout) is None


def test_every_version_is_pinned() -> None:
    """No version in the pom is a range, a RELEASE or a SNAPSHOT."""
    tree = ElementTree.parse(DEPLOY / "pom.xml")
    versions = [each.text or "" for each in tree.iter() if each.tag.endswith((".version", "}version"))]
    assert len(versions) > 5
    for version in versions:
        assert version.startswith("${") or version.replace(".", "").isdigit(), version


def test_every_platform_has_its_checksum() -> None:
    """The four that PostgreSQL binaries exist for."""
    names = [line.split()[1] for line in (DEPLOY / "servers.sha256").read_text("ascii").splitlines()]
    assert len(names) == len(set(names))
    assert {name for name in names if "postgres" in name} == {
        f"archives/postgres-{platform}.jar"
        for platform in ("linux-amd64", "linux-arm64v8", "darwin-amd64", "darwin-arm64v8")
    }
