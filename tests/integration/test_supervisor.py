"""The supervisor with small real programs: started, killed, stubborn, hopeless."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from cli.local.failures import ServerFailed
from cli.local.probes import answers_http
from cli.local.processes import Started, alive
from cli.local.supervisor import Supervisor
from cli.local.unit import Kind, Unit
from sluice.clock import FakeClock

# A role in a nutshell: it answers on a port, and leaves on SIGTERM with exit code 0.
ROLE = """
import http.server, signal, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = http.server.HTTPServer(("127.0.0.1", 0), Page)
open(sys.argv[1], "w").write(str(server.server_port))
print("serving", flush=True)
server.serve_forever()
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(600)"
WITH_A_CHILD = (
    "import subprocess, sys, time; child = subprocess.Popen(['sleep', '600']);"
    "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(600)"
)


@dataclass
class Watch:
    """A supervisor, what it said, and the directory of its logs."""

    supervisor: Supervisor
    directory: Path
    clock: FakeClock
    said: list[str] = field(default_factory=list)

    def unit(self, name: str, program: str, *, kind: Kind = "role", grace_seconds: float = 10) -> Unit:
        """A Python program as a unit; it writes a number to a file of its name when it is up."""
        return Unit(
            name=name,
            kind=kind,
            command=(sys.executable, "-c", program, str(self.directory / name)),
            environment=dict(os.environ),
            address="nowhere",
            ready=lambda: self._answers(name),
            grace_seconds=grace_seconds,
        )

    async def _answers(self, name: str) -> bool:
        port = self.number(name)
        return port is not None and await answers_http(f"http://127.0.0.1:{port}/health")

    def number(self, name: str) -> int | None:
        """The number in the file of this name."""
        path = self.directory / name
        text = path.read_text("utf-8") if path.exists() else ""
        return int(text) if text else None

    def process(self, name: str) -> Started:
        """The present process of a unit."""
        return next(each for each in self.supervisor.started if each.name == name)


@pytest.fixture(name="watch")
async def _watch(tmp_path: Path) -> AsyncIterator[Watch]:
    clock, said = FakeClock(), list[str]()
    watch = Watch(Supervisor(tmp_path, said.append, clock=clock), tmp_path, clock, said)
    yield watch
    watch.supervisor.kill()
    await watch.supervisor.stop(*[each.name for each in watch.supervisor.started])


async def until(holds: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Return when something has come about; fail after 20 s."""
    async with asyncio.timeout(20):
        while True:
            result = holds()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.02)


async def test_a_role_that_is_killed_is_started_again_and_it_is_said_so(watch: Watch) -> None:
    """Half a second later, as another process, and the terminal tells both."""
    watch.supervisor.start(watch.unit("role", ROLE))
    await watch.supervisor.wait_ready("role")
    first = watch.process("role")
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: any("is started again" in line for line in watch.said))
    await watch.supervisor.wait_ready("role")
    second = watch.process("role")
    assert second.pid != first.pid
    assert second.restarts == 1
    assert watch.said == [
        "role answers at nowhere",
        f"role was killed by SIGKILL; starting it again in 0.5 s (see {watch.directory / 'role.log'})",
        f"role is started again as process {second.pid}",
        "role answers at nowhere",
    ]


async def test_a_role_that_leaves_by_itself_is_started_again(watch: Watch) -> None:
    """Exit code 0 is a death too: a role works until it is told to stop."""
    watch.supervisor.start(watch.unit("role", "pass"))
    await until(lambda: any("ended with exit code 0" in line for line in watch.said))


async def test_the_wait_grows_while_a_role_keeps_dying(watch: Watch) -> None:
    """0.5, 1, 2 s; a role is never given up."""
    watch.supervisor.start(watch.unit("role", "raise SystemExit(7)"))
    await until(lambda: sum("exit code 7" in line for line in watch.said) >= 3)
    waits = [line.partition(" in ")[2].split()[0] for line in watch.said if "exit code 7" in line]
    assert waits[:3] == ["0.5", "1", "2"]


async def test_a_minute_of_life_makes_the_wait_short_again(watch: Watch) -> None:
    """The clock is the supervisor's, so the minute passes at once."""
    watch.supervisor.start(watch.unit("role", ROLE))
    for expected in ("0.5 s", "1 s", "0.5 s"):
        await watch.supervisor.wait_ready("role")
        said = len(watch.said)
        if expected == "0.5 s" and said:
            watch.clock.advance(60)
        pid = watch.process("role").pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda said=said: len(watch.said) >= said + 2)
        assert f"again in {expected}" in watch.said[said]
        assert watch.supervisor.absent == ()


async def test_a_stopped_role_stays_stopped(watch: Watch) -> None:
    """It was asked, it left, and nothing is said about it."""
    watch.supervisor.start(watch.unit("role", ROLE))
    await watch.supervisor.wait_ready("role")
    before = watch.process("role")
    await watch.supervisor.stop("role")
    assert not alive(before)
    assert watch.supervisor.started == watch.supervisor.absent == ()
    assert watch.said == ["role answers at nowhere"]


async def test_a_role_can_be_stopped_while_it_waits_to_be_started_again(watch: Watch) -> None:
    """The wait ends, and no process is started any more."""
    watch.supervisor.start(watch.unit("role", "raise SystemExit(7)"))
    await until(lambda: bool(watch.said))
    assert [each.pid for each in watch.supervisor.absent] == [0]
    await asyncio.wait_for(watch.supervisor.stop("role"), 5)
    assert watch.supervisor.started == ()


@pytest.mark.parametrize("turns", range(12))
async def test_a_role_can_be_stopped_while_it_is_being_started(watch: Watch, turns: int) -> None:
    """At whatever moment of its start, its process is ended and nobody waits for it."""
    watch.supervisor.start(watch.unit("role", "import time; time.sleep(600)"))
    for _ in range(turns):
        await asyncio.sleep(0.002)
    await asyncio.wait_for(watch.supervisor.stop("role"), 30)
    assert not [child for child in psutil.Process().children() if "sleep(600)" in " ".join(child.cmdline())]


async def test_a_stubborn_role_is_killed_after_its_grace(watch: Watch) -> None:
    """What does not leave is made to, and it is said so."""
    watch.supervisor.start(watch.unit("role", STUBBORN, grace_seconds=0.2))
    log = watch.directory / "role.log"
    await until(lambda: log.exists() and log.stat().st_size >= 0 and bool(watch.supervisor.started))
    before = watch.process("role")
    await asyncio.sleep(0.3)  # until it has begun to ignore the signal
    await watch.supervisor.stop("role")
    assert not alive(before)
    assert watch.said == ["role has not stopped after 0.2 s; killing it"]


async def test_a_child_of_a_dead_role_goes_too(watch: Watch) -> None:
    """A role killed in the middle of its work leaves no worker behind."""
    watch.supervisor.start(watch.unit("role", WITH_A_CHILD))
    await until(lambda: watch.number("role") is not None)
    child = watch.number("role")
    assert child is not None
    os.kill(watch.process("role").pid, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


async def test_a_hopeless_server_ends_the_start_with_its_last_words(watch: Watch) -> None:
    """A server that dies three times before it ever answered: the sentence quotes its log."""
    program = "import sys; sys.exit('FATAL: the data directory is of another version')"
    watch.supervisor.start(watch.unit("server", program, kind="server"))
    with pytest.raises(ServerFailed, match="FATAL: the data directory is of another version"):
        await asyncio.wait_for(watch.supervisor.wait_ready("server"), 20)


async def test_a_program_that_is_not_there_is_said_and_tried_again(watch: Watch) -> None:
    """No traceback ends the supervisor."""
    unit = Unit(name="role", kind="role", command=("/nonexistent/program",), environment={})
    watch.supervisor.start(unit)
    await until(lambda: any("cannot be started" in line for line in watch.said))
    assert "No such file" in watch.said[0]
