"""What can go wrong with the local stack, each as one sentence that says what to do.

SluiceError
└── LocalStackFailed
    ├── PortTaken, PortInvalid           an address that cannot be had
    ├── ToolMissing                      a program that the machine lacks
    ├── FetchFailed, PlatformUnsupported the servers cannot be had
    ├── DiskFull, NotWritable            the disk refuses
    ├── AlreadyRunning                   one stack per directory
    ├── ServerFailed, WorldFailed        a server, or what is made in it, does not come up
    ├── NotReadyInTime                   it is slower than the caller waits
    └── RoleUnknown, RoleMissing         a role that cannot be run
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from sluice.errors import SluiceError


class LocalStackFailed(SluiceError):
    """{problem}"""

    code = "LOCAL_STACK_FAILED"


class PortTaken(LocalStackFailed):
    """Port {port} ({purpose}) is taken by {owner}: stop that, or choose another port with
    {variable}=NUMBER."""


class PortInvalid(LocalStackFailed):
    """{variable}={value} is no port: give a number from 1 to 65535."""


class PortsCollide(LocalStackFailed):
    """{first} and {second} both want port {port}: give one of them another number."""


class ToolMissing(LocalStackFailed):
    """{tool} is not installed: {remedy}"""


class FetchFailed(LocalStackFailed):
    """The servers could not be downloaded ({reason}): {remedy} Details are in {log}."""


class PlatformUnsupported(LocalStackFailed):
    """There are no PostgreSQL binaries for {platform}: use `docker compose up` instead."""


class DiskFull(LocalStackFailed):
    """The disk of {path} is full ({free_megabytes} MB free, {needed_megabytes} MB needed): free some space
    and try again."""


class NotWritable(LocalStackFailed):
    """{path} cannot be written ({reason}): give yourself the right to, or choose another place with
    {variable}=DIRECTORY."""


class AlreadyRunning(LocalStackFailed):
    """This stack is running already (process {pid}): see `sluice status`, or stop it with `sluice down`."""


class ServerFailed(LocalStackFailed):
    """{name} does not start ({reason}): see {log}, then try `sluice up` again."""


class WorldFailed(LocalStackFailed):
    """The servers run, but {step} failed ({reason}): mend that and try `sluice up` again."""


class NotReadyInTime(LocalStackFailed):
    """Not ready after {seconds} s: {waiting}. It goes on trying; see `sluice status` and the logs in {logs},
    or stop it with `sluice down`."""


class SupervisorDied(LocalStackFailed):
    """The supervisor ended before the stack was ready ({reason}): see {log}, then try `sluice up` again."""


class RoleUnknown(LocalStackFailed):
    """There is no role {role}: choose from {roles}."""


class RoleMissing(LocalStackFailed):
    """The role {role} cannot be loaded ({reason}): install the project again with `make setup`."""


@contextlib.contextmanager
def disk_errors(path: Path, variable: str) -> Iterator[None]:
    """Tell the operating system's refusals about `path` as sentences. `variable` moves it elsewhere."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path=path, free_megabytes=0, needed_megabytes="more") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            place = error.filename or path
            raise NotWritable(path=place, reason=error.strerror, variable=variable) from error
        raise
