"""Run one role with a producer that drops, repeats and reorders what it sends to the pipeline's topics.

Usage: python -m tests.acceptance.lossy ROLE SEED. Nothing in the product knows of it: the client library's
own method is replaced before the role starts. What it did is printed at the end, so that a test can see
that it bit.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import random
import sys
from collections import Counter
from typing import Any

import aiokafka
from aiokafka.structs import RecordMetadata, TopicPartition

from sluice.settings import load_settings
from sluice.topics import ROWS_READ, ROWS_RESOLVED

MODULES = {"reader": "ingress.reader", "streams": "streams.app"}
PIPELINE = {ROWS_READ.name, ROWS_RESOLVED.name}
HELD_SECONDS = 0.3


def install(seed: int) -> Counter[str]:
    """Replace `AIOKafkaProducer.send`; returns the counter of what is done to messages."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    send = aiokafka.AIOKafkaProducer.send

    async def lossy(self: Any, topic: str, *args: Any, **options: Any) -> Any:
        if topic not in PIPELINE:
            return await send(self, topic, *args, **options)
        fate = chance.random()
        if fate < 0.04:
            done["dropped"] += 1
            return _as_if_sent(topic)
        if fate < 0.08:
            done["repeated"] += 1
            await send(self, topic, *args, **options)
        elif fate < 0.12:
            done["delayed"] += 1
            asyncio.get_running_loop().call_later(
                HELD_SECONDS, lambda: asyncio.ensure_future(send(self, topic, *args, **options))
            )
            return _as_if_sent(topic)
        return await send(self, topic, *args, **options)

    aiokafka.AIOKafkaProducer.send = lossy
    return done


def _as_if_sent(topic: str) -> asyncio.Future[RecordMetadata]:
    sent = asyncio.get_running_loop().create_future()
    sent.set_result(RecordMetadata(topic, 0, TopicPartition(topic, 0), 0, None, 0, 0))
    return sent


def main() -> None:
    role, seed = sys.argv[1], int(sys.argv[2])
    done = install(seed)
    atexit.register(lambda: print(dict(done), flush=True))
    importlib.import_module(MODULES[role]).run(load_settings())


if __name__ == "__main__":
    main()
