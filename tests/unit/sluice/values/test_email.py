"""E-mail addresses: the fast path is held to email-validator, the policy to tables and to a corpus."""

from __future__ import annotations

import os
import random
import string
from pathlib import Path
from xml.etree import ElementTree

import email_validator
import pytest

from sluice.values.email import INVALID, Email, EmailFault, _key_by_library, parse_email

CASES = 30_000

CORPUS = Path(os.environ.get("SLUICE_CORPORA", "")) / "isemail" / "tests.xml"

COUNTRY_DOMAINS = {"io", "de", "us", "ai"}
"""Every one-label domain of a country that the generator makes."""


def expected(text: str) -> str | None:
    """The identity by the policy's words, from the library alone."""
    text = text.strip(" \t\u00a0\u3000")
    try:
        found = email_validator.validate_email(
            text,
            check_deliverability=False,
            strict=True,
            globally_deliverable=text.rpartition("@")[2].lower() not in COUNTRY_DOMAINS,
        )
    except email_validator.EmailNotValidError:
        return None
    return found.normalized.lower()


def word(rng: random.Random, longest: int = 12) -> str:
    alphabet = string.ascii_lowercase * 3 + string.ascii_uppercase + string.digits
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, longest)))


def local_part(rng: random.Random) -> str:
    return rng.choice(
        [
            word(rng),
            f"{word(rng)}.{word(rng)}",
            f"{word(rng)}+{word(rng)}",
            f"{word(rng)}_{word(rng)}-{word(rng)}",
            f"o'{word(rng)}",
            "!#$%&'*+-/=?^_`{|}~",
            f".{word(rng)}",
            f"{word(rng)}.",
            f"{word(rng)}..{word(rng)}",
            f'"{word(rng)}"',
            f'"{word(rng)} {word(rng)}"',
            f"({word(rng)}){word(rng)}",
            f"{word(rng)} {word(rng)}",
            f"{word(rng)}\x00",
            f"{word(rng)}\u200b",
            f"{word(rng)}é",
            f"{word(rng)}e\u0301",
            f"\u212a{word(rng)}",
            f"İ{word(rng)}",
            "用户",
            "info",
            "",
            "a" * rng.choice([63, 64, 65]),
            f"{word(rng)}@{word(rng)}",
            f"{word(rng)}\n",
            f"{word(rng)}\ud800",
        ]
    )


def domain(rng: random.Random) -> str:
    top = rng.choice(
        [
            "com",
            "org",
            "de",
            "co.uk",
            "museum",
            "test",
            "invalid",
            "local",
            "onion",
            "arpa",
            "c",
            "co1",
            "123",
        ]
    )
    return rng.choice(
        [
            f"{word(rng)}.{top}",
            f"{word(rng)}.{word(rng)}.{top}",
            f"{word(rng)}-{word(rng)}.{top}",
            f"{word(rng)}--{word(rng)}.{top}",
            f"ab--{word(rng)}.{top}",
            f"-{word(rng)}.{top}",
            f"{word(rng)}-.{top}",
            f"{word(rng)}_{word(rng)}.{top}",
            f"{word(rng)}..{top}",
            f".{word(rng)}.{top}",
            f"{word(rng)}.{top}.",
            f"{word(rng)}.{top}-",
            "example.com",
            "EXAMPLE.COM",
            "localhost",
            "gmail",
            rng.choice(sorted(COUNTRY_DOMAINS)),
            "[127.0.0.1]",
            "[IPv6:::1]",
            "127.0.0.1",
            "bücher.example",
            "BÜCHER.example",
            "xn--bcher-kva.example",
            "xn--zz--.com",
            "例え.jp",
            "a。com",
            "ｅｘａｍｐｌｅ.com",
            f"{'a' * rng.choice([62, 63, 64])}.com",
            f"{'.'.join(['a' * 60] * 4)}.{'b' * rng.randrange(1, 9)}",
            f"{'.'.join(['a' * 59] * 3)}.{'b' * rng.randrange(1, 12)}",
            f"{word(rng)}.{top}\n",
            f"{word(rng)} .{top}",
            f"{word(rng)}.\u0130{top}",
            "",
        ]
    )


def generated(seed: int) -> list[str]:
    rng = random.Random(seed)
    cases = []
    for _ in range(CASES):
        if rng.random() < 0.4:
            name = rng.choice([word(rng), f"{word(rng)}.{word(rng)}", f"{word(rng)}_{word(rng)}+{word(rng)}"])
            text = f"{name}@{word(rng)}.{rng.choice(['com', 'de', 'co.uk', 'io'])}"
        else:
            text = f"{local_part(rng)}@{domain(rng)}"
        if rng.random() < 0.1:
            text = rng.choice(
                [f" {text}", f"{text}\t", f"\u00a0{text} ", f"{text}\r\n", f"<{text}>", f"Ann <{text}>"]
            )
        if rng.random() < 0.05:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(["@", ".", "-", " ", "\x7f", ",", ";", "é", '"', "\\"]) + text[at:]
        cases.append(text)
    return cases


@pytest.mark.requirement("S0-016", "S0-017", "S1-050")
def test_the_fast_path_and_the_library_give_one_answer() -> None:
    """30,000 generated texts, realistic and hostile, get the validity and identity that the library gives."""
    differences = []
    for text in generated(seed=21):
        answer = parse_email(text)
        key = answer.key if isinstance(answer, Email) else None
        if key != expected(text):
            differences.append((text, key, expected(text)))
    assert differences == []


def test_identities_are_stable_and_fit_their_column() -> None:
    """An identity read again is the same identity, and never longer than the column that holds it."""
    for text in generated(seed=22)[:5_000]:
        answer = parse_email(text)
        if isinstance(answer, Email):
            again = parse_email(answer.key)
            assert isinstance(again, Email)
            assert again.key == answer.key
            assert len(answer.key) <= 320


@pytest.mark.parametrize("text", ["ann@example.com", "Ann.Lee+news@Mail.Example.CO.UK", "o'neil@x-y.io"])
def test_usual_addresses_do_not_reach_the_library(text: str) -> None:
    """The forms that files are full of are read by the fast path; only odd ones cost a library call."""
    _key_by_library.cache_clear()
    assert parse_email(text) == Email(text, text.lower())
    assert _key_by_library.cache_info().misses == 0
    parse_email("ann@bücher.example")
    assert _key_by_library.cache_info().misses == 1
    assert _key_by_library.cache_info().maxsize == 4096


@pytest.mark.requirement("S1-050")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("  Ann@Example.COM ", "ann@example.com"),
        ("ann@corp.local", "ann@corp.local"),
        ("ann@host.test", "ann@host.test"),
        ("test@io", "test@io"),
        ("ann@BÜCHER.example", "ann@bücher.example"),
        ("ann@xn--bcher-kva.example", "ann@bücher.example"),
        ("用户@例え.jp", "用户@例え.jp"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
        (f"{'a' * 65}@example.com", None),
        ("ann@gmail", None),
        ("ann@localhost", None),
        ("ann@127.0.0.1", None),
        ("ann@[127.0.0.1]", None),
        ('"ann lee"@example.com', None),
        ("ann(work)@example.com", None),
        ("Ann <ann@example.com>", None),
        ("ann@example.com\r\n", None),
        ("ann@example.com, bob@example.com", None),
        ("", None),
        ("n/a", None),
        ("a" * 1_000_000, None),
    ],
)
def test_the_policy(text: str, key: str | None) -> None:
    """What the module's policy takes and refuses, one example each; empty text is no address."""
    answer = parse_email(text)
    assert (answer.key if isinstance(answer, Email) else None) == key


def test_a_fault_has_the_code_and_sentence_of_the_contract() -> None:
    """The fault names the fact in the words of the API document."""
    assert parse_email("@%#") == INVALID == EmailFault("email_invalid", "Invalid email format")


POLICY_OF_THE_REST = {
    "ISEMAIL_DNSWARN": 8,  # well-formed, and DNS is not asked
    "ISEMAIL_RFC5321": 0,  # quoted, IP literals, numeric or generic top-level domains alone
    "ISEMAIL_CFWS": 2,  # only those whose blanks are spaces at the ends, which are trimmed
    "ISEMAIL_DEPREC": 0,
    "ISEMAIL_RFC5322": 0,
}
"""How many addresses of each other category of the corpus the policy takes."""


@pytest.mark.requirement("S1-050")
@pytest.mark.skipif(not CORPUS.is_file(), reason="SLUICE_CORPORA names no directory with the isemail corpus")
def test_the_isemail_corpus() -> None:
    """Every ERR address is refused, every VALID one taken, and the rest decided as the policy says."""
    taken: dict[str, list[str]] = {}
    count: dict[str, int] = {}
    for case in ElementTree.parse(CORPUS).getroot().iter("test"):
        shown, category = case.findtext("address") or "", case.findtext("category") or ""
        # The corpus writes control characters as their symbols, from U+2400 on.
        text = "".join(chr(ord(c) - 0x2400) if 0x2400 <= ord(c) < 0x2420 else c for c in shown)
        count[category] = count.get(category, 0) + 1
        if isinstance(parse_email(text), Email):
            taken.setdefault(category, []).append(text)
    assert (count["ISEMAIL_ERR"], taken.get("ISEMAIL_ERR", [])) == (66, [])
    assert (count["ISEMAIL_VALID_CATEGORY"], len(taken["ISEMAIL_VALID_CATEGORY"])) == (14, 14)
    assert {category: len(taken.get(category, [])) for category in POLICY_OF_THE_REST} == POLICY_OF_THE_REST
