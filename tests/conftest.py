"""What all tests share: the real servers, brought up once for a whole run of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.stack import Servers


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Kafka, PostgreSQL, S3 and the schema registry: migrated, with topics, bucket and schemas, no roles.

    In containers where a Docker engine answers, else as local processes.
    """
    # Imported only now: the unit tests need none of it.
    from tests.integration.containers import containers, engine_answers
    from tests.integration.stack import LocalStack

    if engine_answers():
        with containers(tmp_path_factory.mktemp("servers")) as in_containers:
            yield in_containers
    else:
        with LocalStack.start() as local:
            yield local
