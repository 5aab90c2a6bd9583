"""The named points at which a role may be struck: where each is, in the product's own terms.

    ingress   upload ─ object ─ job row ─ bell
    reader    lease ─ send ─ stored ─ window ─ release
    streams   changelog ─ RocksDB ─ output ─ acknowledge ─ commit; progress
    sink      take over ─ settle ─ database ─ Kafka ─ mark
    tasks     relay: send ─ delete

`before-x` is the last moment at which x has surely not happened, `after-x` the first at which it surely has.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sluice.topics import IDENTITIES_CHANGELOG, PROGRESS, PROGRESS_CHANGELOG, ROWS_READ, ROWS_RESOLVED
from tests.chaos.patches import Call, TargetMissing, around, replace

Strike = Callable[[], None]
Place = Callable[[Strike], None]
"""Puts a strike at one point of this process."""


@dataclass(frozen=True)
class Point:
    """One point. `prelude` names the point that must be struck before, for this one to be passed at all."""

    role: str
    place: Place
    prelude: str | None = None


@dataclass(frozen=True)
class Only:
    """Which calls are meant; `needs` are the arguments that are looked at."""

    when: Callable[[Call], bool]
    needs: tuple[str, ...] = ()


def at(
    side: Literal["before", "after"],
    *targets: str,
    only: Only | None = None,
) -> Place:
    """Before or after a function is called, or only some of its calls."""

    def place(strike: Strike) -> None:
        def hook(call: Call) -> None:
            if only is None or only.when(call):
                strike()

        for target in targets:
            before, after = (hook, None) if side == "before" else (None, hook)
            around(target, before=before, after=after, needs=only.needs if only else ())

    return place


def _is(name: str, value: object) -> Only:
    return Only(lambda call: bool(call.arguments[name] == value), (name,))


def _some(name: str) -> Only:
    return Only(lambda call: bool(call.arguments[name]), (name,))


# Ingress --------------------------------------------------------------------------------------------------

_making: contextvars.ContextVar[bool] = contextvars.ContextVar("making", default=False)


def _before_job_commit(strike: Strike) -> None:
    """Between the insert of the job's row and its commit."""

    def made(original: Any) -> Any:
        async def make_job(*args: Any) -> Any:
            token = _making.set(True)
            try:
                return await original(*args)
            finally:
                _making.reset(token)

        return make_job

    def acted(original: Any) -> Any:
        @asynccontextmanager
        async def acting_for(*args: Any) -> AsyncIterator[Any]:
            async with original(*args) as connection:
                yield connection
                if _making.get():
                    strike()

        return acting_for

    replace("ingress.commands.imports:Acceptance._make_job", made)
    replace("ingress.database:Database.acting_for", acted)


INGRESS = {
    "mid-upload": at("after", "ingress.uploads:Upload.write"),
    "before-object-complete": at("before", "ingress.uploads:Upload.finish"),
    "after-object-complete": at("after", "ingress.uploads:Upload.finish"),
    "before-job-row": at("before", "ingress.commands.imports:Acceptance._make_job"),
    "before-job-commit": _before_job_commit,
    "after-job-row": at("after", "ingress.commands.imports:Acceptance._make_job"),
    "before-bell": at("before", "ingress.producing:Bell._ring"),
    "after-bell": at("after", "ingress.producing:Bell._ring"),
}

# Reader ---------------------------------------------------------------------------------------------------

_TO_STREAMS = _is("topic", ROWS_READ)
_A_JOB = Only(lambda call: call.result is not None)
_FORGETS = Only(lambda call: bool(call.result))

READER = {
    "before-lease": at("before", "ingress.reading.postgres:Leases.take"),
    "after-lease": at(
        "after",
        "ingress.reading.postgres:Leases.take",
        "ingress.reading.postgres:Leases.take_next",
        only=_A_JOB,
    ),
    "before-send": at("before", "ingress.reading.producing:Outbound.send", only=_TO_STREAMS),
    "after-send": at("after", "ingress.reading.producing:Outbound.send", only=_TO_STREAMS),
    "after-stored": at("before", "ingress.reading.sending:JobSending._answered", only=_some("stored")),
    "before-window-advance": at("before", "ingress.reading.sending:JobSending.applied"),
    "after-window-advance": at("after", "ingress.reading.window:Window.apply", only=_FORGETS),
    "before-release": at("before", "ingress.reading.postgres:Leases.release"),
    "after-release": at("after", "ingress.reading.postgres:Leases.release"),
}

# Streams --------------------------------------------------------------------------------------------------


def _sending(side: Literal["before", "after"], topic: str) -> Place:
    return at(side, "streams.sending:FaustSender.send", only=_is("topic", topic))


_IDENTITIES = Only(lambda call: bool(call.arguments["self"].directory.name == IDENTITIES_CHANGELOG))


def _writing(side: Literal["before", "after"]) -> Place:
    return at(side, "streams.store:PartitionStore.write", only=_IDENTITIES)


_COMMIT = "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.commit"
_OFFSETS = _some("offsets")

STREAMS = {
    "before-changelog-send": _sending("before", IDENTITIES_CHANGELOG),
    "after-changelog-send": _sending("after", IDENTITIES_CHANGELOG),
    "before-table-write": _writing("before"),
    "after-table-write": _writing("after"),
    "before-output-send": _sending("before", ROWS_RESOLVED.name),
    "after-output-send": _sending("after", ROWS_RESOLVED.name),
    "before-acknowledge": at("before", "faust.streams:Stream.ack"),
    "after-acknowledge": at("after", "faust.streams:Stream.ack"),
    "before-offset-commit": at("before", _COMMIT, only=_OFFSETS),
    "after-offset-commit": at("after", _COMMIT, only=_OFFSETS),
    "after-progress-changelog": _sending("after", PROGRESS_CHANGELOG),
    "after-progress-send": _sending("after", PROGRESS.name),
    "mid-recovery": at("before", "streams.tables:_TableStore.apply_changelog_batch"),
}

# Sink -----------------------------------------------------------------------------------------------------

_settling: contextvars.ContextVar[bool] = contextvars.ContextVar("settling", default=False)


def _settlement(original: Any) -> Any:
    async def settle(*args: Any) -> Any:
        token = _settling.set(True)
        try:
            return await original(*args)
        finally:
            _settling.reset(token)

    return settle


def _publishing(side: Literal["before", "after"], *, settling: bool) -> Place:
    def place(strike: Strike) -> None:
        replace("sinks.settlement:Settlement.settle", _settlement)
        at(
            side,
            "sluice.transactions:TransactionalProducer.publish",
            only=Only(lambda call: _settling.get() is settling),
        )(strike)

    return place


def _client(method: str, side: Literal["before", "after"]) -> Place:
    """Around a call of the transactional client itself, on its own thread."""

    def place(strike: Strike) -> None:
        def subclass(original: type[Any]) -> type[Any]:
            if method not in dir(original):
                raise TargetMissing(f"{original}.{method}")

            def call(self: Any, *args: Any) -> Any:
                if side == "before":
                    strike()
                result = getattr(original, method)(self, *args)
                if side == "after":
                    strike()
                return result

            return type("Struck", (original,), {method: call})

        replace("sluice.transactions:Producer", subclass)

    return place


_MARKING = ("sinks.group:mark_published", "sinks.postgres:mark_published")
_MARKS = _some("published")

SINK = {
    "before-take-over": at("before", "sinks.postgres:PostgresSink.take_over"),
    "after-take-over": at("after", "sinks.postgres:PostgresSink.take_over"),
    "before-database-write": at("before", "sinks.postgres:PostgresSink.write"),
    "before-database-commit": at("after", "sinks.group:Group.apply"),
    "after-database-commit": at("after", "sinks.postgres:PostgresSink._write"),
    "before-kafka-transaction": _publishing("before", settling=False),
    "before-kafka-offsets": _client("send_offsets_to_transaction", "before"),
    "before-kafka-commit": _client("commit_transaction", "before"),
    "after-kafka-commit": _client("commit_transaction", "after"),
    "before-mark-published": at("before", *_MARKING, only=_MARKS),
    "after-mark-published": at("after", *_MARKING, only=_MARKS),
    "before-settlement-publish": _publishing("before", settling=True),
    "after-settlement-publish": _publishing("after", settling=True),
}
_IN_DOUBT = ("before-settlement-publish", "after-settlement-publish")

# Tasks ----------------------------------------------------------------------------------------------------

TASKS = {
    "before-relay-send": at("before", "tasks.relay:Relay._send"),
    "after-relay-send": at("after", "tasks.relay:Relay._send"),
}

POINTS: Mapping[str, Point] = {
    **{name: Point("ingress", place) for name, place in INGRESS.items()},
    **{name: Point("reader", place) for name, place in READER.items()},
    **{
        name: Point("streams", place, "after-changelog-send" if name == "mid-recovery" else None)
        for name, place in STREAMS.items()
    },
    **{
        name: Point("sink", place, "after-database-commit" if name in _IN_DOUBT else None)
        for name, place in SINK.items()
    },
    **{name: Point("tasks", place) for name, place in TASKS.items()},
}
