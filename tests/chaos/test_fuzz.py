"""Files with flipped, lost, doubled and foreign bytes, for a minute a kind: opened or refused, nothing else.

`SEED=… SECONDS=…` repeat a run or make it longer; every failure names the file's seed.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from ingress.formats.children import open_rows
from ingress.formats.detect import detect
from ingress.formats.limits import Limits
from ingress.formats.opening import Asked, Kind
from ingress.formats.parts import PartFormat, open_chunker
from ingress.formats.rows import Position
from sluice.errors import Refused
from tests.unit.ingress.formats.workbooks import make_workbook, make_zip

SEED = os.environ.get("SEED") or "1"
SECONDS = float(os.environ.get("SECONDS") or 60)
AT_ONCE = 3
LIMITS = Limits(max_rows=100_000, processor_seconds=30, silent_seconds=60, memory_bytes=1 << 30)
HEADER = ["email", "first_name", "phone", "notes"]
ROWS = [[f"p{n}@example.com", "Zoë", f"+1415555{n:04}", f'a "note", {n}\nof two lines'] for n in range(40)]
RECORDS = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
CARD = (
    "BEGIN:VCARD\r\nVERSION:3.0\r\nN:Ruiz;Ana;;;\r\nEMAIL;TYPE=work:ana@example.com\r\n"
    "TEL:+14155552671\r\nADR:;;1 Main St;Springfield;IL;62701;US\r\nNOTE:folded\r\n  line\r\nEND:VCARD\r\n"
)
ENTRY = "dn: cn=Ana\nmail: ana@example.com\nsn:: UnVpeg==\ntelephoneNumber: +14155552671\n\n"

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 300)]


def sound_file(kind: Kind, directory: Path) -> bytes:
    text = "\r\n".join(",".join(f'"{cell}"' for cell in row) for row in [HEADER, *ROWS]).encode()
    if kind in (Kind.XLSX, Kind.XLS, Kind.ODS):
        return make_workbook(directory / f"sound.{kind.value}", [HEADER, *ROWS]).read_bytes()
    return {
        Kind.CSV: text,
        Kind.JSON: json.dumps(RECORDS, indent=1).encode(),
        Kind.NDJSON: "\n".join(map(json.dumps, RECORDS)).encode(),
        Kind.VCARD: (CARD * 20).encode(),
        Kind.LDIF: (ENTRY * 20).encode(),
        Kind.GZIP: gzip.compress(text),
        Kind.ZIP: make_zip(directory / "sound.zip", {"people.csv": text}).read_bytes(),
    }[kind]


def mutated(sound: bytes, chance: Random) -> bytes:
    """The file with up to eight wounds."""
    data = bytearray(sound)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        span = chance.choice((1, 1, 2, 8, 64, 512))
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + span]
            case 2:
                data[at:at] = data[at : at + span]
            case 3:
                data[at:at] = chance.randbytes(span)
            case _:
                data[at : at + span] = bytes(span)
        if not data:
            break
    return bytes(data)


async def end_of(data: bytes, kind: Kind, path: Path) -> str:
    """How a file ends: opened, or the code that it is refused with. What was opened is read like a part."""
    try:
        kind = detect(data[: 256 * 1024], f"people.{kind.value}")
        path.write_bytes(data)
        async with open_rows(path, kind, Asked(), LIMITS) as opened:
            stored = b"".join([piece async for piece in opened.pieces()])
        form = PartFormat(kind="rows", columns=list(opened.head.columns))
        chunker = open_chunker(form, Position(1, 0, 1, 1))
        count = sum(len(chunk.rows) for chunk in chunker.feed(stored))
        while (rest := chunker.finish()) is not None:
            count += len(rest.rows)
        assert count == opened.row_count
    except Refused as refusal:
        return checked(refusal)
    return "opened"


def checked(refusal: Refused) -> str:
    """The refusal's code; a sentence has to come with it, and none that stands for an opener's own error."""
    assert refusal.message.endswith(".")
    assert "reading it ended in an error" not in refusal.message, "an opener raised what it should not"
    return refusal.code


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.value)
async def test_a_wounded_file_is_opened_or_refused(kind: Kind, tmp_path: Path) -> None:
    """In a child process, as the reader does it; what it gives is read as the reader reads it."""
    sound = sound_file(kind, tmp_path)
    assert await end_of(sound, kind, tmp_path / "sound") == "opened"
    deadline = time.monotonic() + SECONDS
    ends: Counter[str] = Counter()

    async def worker(number: int) -> None:
        turn = 0
        while time.monotonic() < deadline:
            turn += 1
            seed = f"{SEED}-{kind.value}-{number}-{turn}"
            data = mutated(sound, Random(seed))
            try:
                ends[await end_of(data, kind, tmp_path / f"file-{number}")] += 1
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error!r}") from error

    await asyncio.gather(*(worker(number) for number in range(AT_ONCE)))
    print(kind.value, dict(ends))
    assert sum(ends.values()) > 10
