"""The migration runner on a real PostgreSQL: each file once, all or nothing, never two runners at a time."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import sinks
from sluice.errors import DatabaseUnavailable, MigrationRefused
from sluice.migrations import migrate
from tests.integration.stack import Servers

OURS = Path(sinks.__path__[0]) / "migrations"


@pytest.fixture
async def database(stack: Servers) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    name = f"migrations_{uuid.uuid4().hex}"
    owner = stack.env["MIGRATE_DATABASE_URL"]
    connection = await asyncpg.connect(owner)
    await connection.execute(f"CREATE DATABASE {name}")
    yield owner.rpartition("/")[0] + f"/{name}"
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two small migrations."""
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE one (n int); INSERT INTO one VALUES (1);")
    (tmp_path / "0002_second.sql").write_text("INSERT INTO one VALUES (2);")
    return tmp_path


async def fetch(dsn: str, sql: str) -> list[object]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(sql)]
    finally:
        await connection.close()


@pytest.mark.requirement("S4-114", "S2-075")
async def test_the_projects_migrations_make_an_empty_database_whole(database: str) -> None:
    """All files run, in order of their names, and a second run finds nothing to do."""
    names = sorted(path.name for path in OURS.glob("*.sql"))
    assert await migrate(database, OURS) == names
    assert await migrate(database, OURS) == []
    extensions = await fetch(database, "SELECT extname FROM pg_extension")
    assert {"uuid-ossp", "pg_trgm"} <= set(extensions)


@pytest.mark.requirement("S4-115")
async def test_the_default_lists_are_there_and_shared(database: str) -> None:
    """Two Do-Not-Call lists without an organization, active, never loaded."""
    await migrate(database, OURS)
    shared = "FROM dnc_lists WHERE organization_id IS NULL AND last_updated IS NULL ORDER BY name"
    sql = f"SELECT name || '/' || type || '/' || status {shared}"
    assert await fetch(database, sql) == [
        "California State DNC/state/active",
        "Federal DNC Registry/federal/active",
    ]


async def test_only_new_files_run(database: str, files: Path) -> None:
    """What ran is not run again when a file is added."""
    await migrate(database, files)
    (files / "0003_third.sql").write_text("INSERT INTO one VALUES (3);")
    assert await migrate(database, files) == ["0003_third.sql"]
    assert await fetch(database, "SELECT n FROM one ORDER BY n") == [1, 2, 3]


async def test_two_runners_at_once_run_each_file_once(database: str, files: Path) -> None:
    """The second waits for the first and finds everything done."""
    (files / "0003_slow.sql").write_text("SELECT pg_sleep(0.3); INSERT INTO one VALUES (3);")
    results = await asyncio.gather(*(migrate(database, files) for _ in range(4)))
    assert sorted(len(each) for each in results) == [0, 0, 0, 3]
    assert await fetch(database, "SELECT n FROM one ORDER BY n") == [1, 2, 3]


async def test_a_file_that_changed_after_it_ran_is_refused(database: str, files: Path) -> None:
    """Else a database would depend on when it was made; the file is named and nothing runs."""
    await migrate(database, files)
    (files / "0001_first.sql").write_text("CREATE TABLE other (n int);")
    (files / "0003_third.sql").write_text("INSERT INTO one VALUES (3);")
    with pytest.raises(MigrationRefused, match=r"0001_first\.sql ran on this database and was changed"):
        await migrate(database, files)
    assert await fetch(database, "SELECT n FROM one ORDER BY n") == [1, 2]


async def test_a_file_that_is_gone_is_refused(database: str, files: Path) -> None:
    """An older checkout does not touch a newer database."""
    await migrate(database, files)
    (files / "0002_second.sql").unlink()
    with pytest.raises(MigrationRefused, match=r"0002_second\.sql ran on this database but is gone"):
        await migrate(database, files)


async def test_a_file_that_fails_leaves_nothing_of_itself(database: str, files: Path) -> None:
    """What came before stays, the failing one is rolled back whole, and runs when it is mended."""
    failing = files / "0002_second.sql"
    failing.write_text("INSERT INTO one VALUES (2); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(MigrationRefused, match=r"0002_second\.sql failed and was rolled back.*nowhere"):
        await migrate(database, files)
    assert await fetch(database, "SELECT n FROM one") == [1]
    assert await fetch(database, "SELECT name FROM schema_migrations") == ["0001_first.sql"]
    failing.write_text("INSERT INTO one VALUES (2);")
    assert await migrate(database, files) == ["0002_second.sql"]


async def test_a_server_that_is_away_is_an_outage(files: Path) -> None:
    """The sentence says so; no traceback of a driver."""
    with pytest.raises(DatabaseUnavailable):
        await migrate("postgresql://sluice@127.0.0.1:1/sluice", files)
