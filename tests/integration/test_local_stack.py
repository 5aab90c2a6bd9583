"""The local stack with its real servers: up, killed, up again, down."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import psutil
import pytest
from aiobotocore.session import get_session
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from cli.local.credentials import read_settings
from cli.local.layout import Layout
from cli.local.ports import Ports, is_free
from cli.local.processes import StackState, alive, leftovers
from tests.integration.stack import LocalStack, Servers, ready_servers, wait_until

T = TypeVar("T")
TOPIC = "imports.rows-read.v1"


def sluice(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on a stack of its own."""
    environment = {**os.environ, "SLUICE_HOME": str(home), "SLUICE_SERVERS_DIR": str(ready_servers())}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Iterator[Path]:
    """A directory for a stack, of which nothing runs after the test."""
    home = tmp_path / "home"
    yield home
    sluice(home, "down")


def run(work: Callable[[dict[str, str]], Coroutine[Any, Any, T]], env: dict[str, str]) -> T:
    """Do asynchronous work in a test that is not."""
    return asyncio.run(work(env))


async def leave_a_mark_everywhere(env: dict[str, str]) -> None:
    """One row, one message and one object."""
    connection = await asyncpg.connect(env["MIGRATE_DATABASE_URL"])
    await connection.execute("CREATE TABLE mark (word text)")
    await connection.execute("INSERT INTO mark VALUES ('kept')")
    await connection.close()
    producer = AIOKafkaProducer(bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"], acks="all")
    async with producer:
        await producer.send_and_wait(TOPIC, b"kept")
    async with s3(env) as client:
        await client.put_object(Bucket=env["S3_BUCKET_NAME"], Key="mark", Body=b"kept")


async def marks(env: dict[str, str]) -> list[str]:
    """What is left of the marks."""
    connection = await asyncpg.connect(env["MIGRATE_DATABASE_URL"])
    row = await connection.fetchval("SELECT word FROM mark")
    await connection.close()
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"], auto_offset_reset="earliest"
    )
    async with consumer, asyncio.timeout(30):
        message = await consumer.getone()
    async with s3(env) as client:
        answer = await client.get_object(Bucket=env["S3_BUCKET_NAME"], Key="mark")
        body = await answer["Body"].read()
    return [row, message.value.decode(), body.decode()]


def s3(env: dict[str, str]) -> Any:
    """A client of the stack's object store."""
    return get_session().create_client(
        "s3",
        endpoint_url=env["S3_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


async def read_one_of_three(env: dict[str, str]) -> None:
    """Send three messages; the group `readers` commits the first."""
    bootstrap = env["KAFKA_BOOTSTRAP_SERVERS"]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for _ in range(3):
            await producer.send_and_wait(TOPIC, b"message", partition=0)
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=bootstrap,
        group_id="readers",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer, asyncio.timeout(30):
        message = await consumer.getone()
        await consumer.commit({TopicPartition(TOPIC, message.partition): message.offset + 1})


async def roles_of_the_database(env: dict[str, str]) -> dict[str, tuple[bool, bool]]:
    """Superuser and row security bypassed, by role."""
    connection = await asyncpg.connect(env["MIGRATE_DATABASE_URL"])
    rows = await connection.fetch("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolcanlogin")
    await connection.close()
    return {row["rolname"]: (row["rolsuper"], row["rolbypassrls"]) for row in rows}


def test_data_survives_kill_9_of_everything(tmp_path: Path) -> None:
    """Whatever a server confirmed is there after all processes were killed and the stack came up again."""
    with LocalStack.start(tmp_path / "home", keep=True) as first:
        run(leave_a_mark_everywhere, first.env)
        killed = first.kill_everything()
        assert len(killed.processes) == 4
        secret = first.env["JWT_SECRET"]
    with LocalStack.start(tmp_path / "home", keep=True) as second:
        assert run(marks, second.env) == ["kept", "kept", "kept"]
        assert second.env["JWT_SECRET"] == secret, "the secrets are made once"


def test_up_status_down_from_the_command_line(home: Path) -> None:
    """`up --detach` returns when all answer, `status --json` names the processes, `down` leaves none."""
    variables = Ports.free(0).environment()
    up = sluice(home, "up", "--detach", "--wait", "--roles", "none", **variables)
    assert up.returncode == 0, up.stderr
    answer = sluice(home, "status", "--json")
    assert answer.returncode == 0
    found = json.loads(answer.stdout)
    assert {each["name"] for each in found["servers"]} == {"postgres", "kafka", "s3", "registry"}
    for each in found["servers"]:
        assert each["ready"] is True
        assert_listens(each["pid"], each["address"])
    assert found["roles"] == []
    assert found["addresses"]["kafka"] == f"127.0.0.1:{variables['SLUICE_KAFKA_PORT']}"
    assert set(found["addresses"]) >= {"api", "postgres", "kafka", "registry", "s3"}
    assert found["lag"] == {}
    run(read_one_of_three, read_settings(home / "env"))
    assert json.loads(sluice(home, "status", "--json").stdout)["lag"] == {"readers": 2}

    env_file = home / "env"
    assert env_file.stat().st_mode & 0o777 == 0o600
    roles = run(roles_of_the_database, read_settings(env_file))
    assert roles["sluice_api"] == (False, False), "row security holds for the API"
    assert roles["sluice_sink"] == (False, True)

    again = sluice(home, "up", "--detach", "--roles", "none", **variables)
    assert again.returncode == 1
    assert "running already" in again.stderr
    assert "Traceback" not in again.stderr

    assert sluice(home, "down").returncode == 0
    assert leftovers(None, home) == []
    for variable, port in variables.items():
        assert is_free(int(port)), f"{variable} is still taken"
    assert not any(psutil.pid_exists(each["pid"]) for each in found["servers"])
    stopped = sluice(home, "status", "--json")
    assert stopped.returncode == 1
    assert json.loads(stopped.stdout)["servers"] == []


def assert_listens(pid: int, address: str) -> None:
    """The process itself, no wrapper of it, has the address, and only on the loopback."""
    port = int(address.rpartition(":")[2])
    listening = [
        each for each in psutil.Process(pid).net_connections("tcp") if each.status == psutil.CONN_LISTEN
    ]
    assert port in [each.laddr.port for each in listening]
    assert {each.laddr.ip.removeprefix("::ffff:") for each in listening} <= {"127.0.0.1", "::1"}


def test_a_killed_supervisor_takes_its_servers_along(tmp_path: Path) -> None:
    """After kill -9 of the supervisor alone nothing goes on running, and `down` has the rest."""
    with LocalStack.start(tmp_path / "home", keep=True) as stack:
        state = stack.state()
        stack.process.kill()
        stack.process.wait()
        if sys.platform == "linux":
            wait_until(lambda: not any(alive(each) for each in state.processes), 30, "the servers stop")
    assert sluice(tmp_path / "home", "down").returncode == 0
    assert not any(alive(each) for each in state.processes)


def test_a_tethered_stack_goes_with_its_parent(tmp_path: Path) -> None:
    """When the process that started a test's stack is killed, the stack and its directory go too."""
    home = tmp_path / "home"
    program = (
        "import sys, time; from pathlib import Path; from tests.integration.stack import LocalStack;"
        "LocalStack.start(Path(sys.argv[1])); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        while parent.stdout.readline() != b"up\n":
            assert parent.poll() is None
        state = StackState.read(Layout(home, home, home).state_file)
        parent.kill()
    assert state is not None
    wait_until(lambda: not any(alive(each) for each in state.processes), 60, "the servers stop")
    wait_until(lambda: not home.exists(), 30, "the directory goes")


def test_a_killed_server_is_started_again_and_it_is_said_so(stack: Servers) -> None:
    """A server that dies comes back on its address, and supervisor.log tells it."""
    if not isinstance(stack, LocalStack):
        pytest.skip("the servers run in containers, which Docker starts again")
    before = stack.kill("s3")
    after = stack.wait_restarted(before)
    assert after.restarts == before.restarts + 1
    assert after.address == before.address
    assert all(each["ready"] for each in stack.status()["servers"])
    log = stack.layout.log("supervisor").read_text("utf-8")
    assert "s3 was killed by SIGKILL; starting it again in 0.5 s" in log
    assert f"s3 is started again as process {after.pid}" in log


def test_a_taken_port_is_named_with_its_owner(home: Path) -> None:
    """One sentence: which port, who has it, and the variable that chooses another; nothing is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        variables = {**Ports.free(0).environment(), "SLUICE_KAFKA_PORT": str(port)}
        up = sluice(home, "up", "--detach", "--roles", "none", **variables)
    assert up.returncode == 1
    assert f"Port {port} (kafka) is taken by" in up.stderr
    assert f"process {os.getpid()}" in up.stderr
    assert "SLUICE_KAFKA_PORT" in up.stderr
    assert "Traceback" not in up.stdout + up.stderr
    assert leftovers(None, home) == []


def test_two_that_fetch_at_once_share_one_download_and_damage_is_mended(tmp_path: Path) -> None:
    """The second waits for the first; a file cut short later is noticed, and fetched again."""
    variables = {"SLUICE_SERVERS_DIR": str(tmp_path / "servers")}
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: sluice(tmp_path, "fetch", **variables), range(2))
    assert (first.returncode, second.returncode) == (0, 0)
    assert (first.stdout + second.stdout).count("Fetching Kafka") == 1
    assert "waiting for it" in first.stdout + second.stdout
    (jar,) = tmp_path.glob("servers/*/kafka/kafka-clients-*.jar")
    size = jar.stat().st_size
    os.truncate(jar, size // 2)
    third = sluice(tmp_path, "fetch", **variables)
    assert third.returncode == 0
    assert "Fetching Kafka" in third.stdout
    assert jar.stat().st_size == size
    # What is fetched is 300 MB: more than a test's directory should keep.
    shutil.rmtree(tmp_path / "servers")
