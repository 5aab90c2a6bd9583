"""What is kept of a message that nobody could use: its bytes, what was wrong, where it came from (D7)."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.topics import Topic

# A broker takes 1,048,588 bytes of value, key and headers together (its default `message.max.bytes`), while
# our topics take more. Whoever passes on what is larger than it may send would wait for ever.
KEPT_VALUE_BYTES = 1_000_000
KEPT_KEY_BYTES = 1024
KEPT_HEADERS_BYTES = 16 * 1024
KEPT_PROBLEM_CHARACTERS = 500

Headers = list[tuple[str, bytes | None]]


def kept_headers(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    """The first headers of a message, as far as there is room for them; a batch's own take 300 bytes."""
    left, found = KEPT_HEADERS_BYTES, Headers()
    for name, value in headers:
        left -= len(name.encode()) + len(value or b"")
        if left < 0:
            break
        found.append((name, value))
    return found


def dead_letter_headers(
    headers: Iterable[tuple[str, bytes | None]],
    *,
    topic: Topic,
    partition: int,
    offset: int,
    size_bytes: int,
    problem: str,
    by: str,
    rows: str = "",
) -> Headers:
    """The headers of a dead letter: those of its message, then the problem, the role and the origin.

    `size_bytes` is that of the message's value; `rows` names the rows at fault, where the rest went on.
    """
    facts = {
        "error": problem[:KEPT_PROBLEM_CHARACTERS],
        "topic": topic.name,
        "partition": str(partition),
        "offset": str(offset),
        "by": by,
        "rows": rows,
        "cut_from_bytes": str(size_bytes) if size_bytes > KEPT_VALUE_BYTES else "",
    }
    return [
        *kept_headers(headers),
        *((f"dead_letter_{name}", text.encode()) for name, text in facts.items() if text),
    ]
