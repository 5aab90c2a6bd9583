"""Phone numbers: the fast path is held to libphonenumber's answers, the three checks to the contract."""

from __future__ import annotations

import random
import re
import unicodedata
from functools import lru_cache

import phonenumbers
import pytest
from phonenumbers import PhoneMetadata

from sluice.values.numbering import OPEN_AREA_CODES
from sluice.values.phone import (
    INVALID,
    Phone,
    PhoneCheck,
    PhoneFault,
    _read_by_library,
    digits_phone,
    display_phone,
    parse_phone,
)

REGIONS = ("US", "GB", "DE")
CASES = 30_000


@lru_cache(maxsize=200_000)
def library_e164(text: str, region: str) -> tuple[str, str, str]:
    """What the library says: E.164 when valid, E.164 when it parses at all, the extension."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return "", "", ""
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return (e164 if phonenumbers.is_valid_number(number) else ""), e164, number.extension or ""


def expected(text: str, region: str, check: PhoneCheck) -> str | None:
    """The E.164 form by the contract, "" for no identity, None for a fault; by the library alone."""
    text = text.strip()
    if not text:
        return ""
    valid, parsed, extension = library_e164(text, region)
    if check == "off":
        return valid
    if check == "strict":
        return valid or None
    digits = "".join(str(unicodedata.decimal(c)) for c in text if c.isdecimal())
    digits = digits.removesuffix("".join(str(unicodedata.decimal(c)) for c in extension))
    if len(text) > 250 or len(digits) < 10:
        return None
    if valid:
        return valid
    before_digits = re.split(r"\d", text)[0]
    has_plus = "+" in before_digits or "＋" in before_digits
    e164 = f"+{digits}" if has_plus or (len(digits) > 10 and digits[0] != "0") else parsed
    return e164 if 11 <= len(e164) <= 16 and re.fullmatch(r"\+[1-9]\d+", e164, re.ASCII) else None


def nanp(rng: random.Random) -> str:
    area = rng.choice(
        ["415", "212", "800", "888", "555", "268", "876", "242", "787", "983", "911", "600", "500"]
    )
    if rng.random() < 0.6:
        area = f"{rng.randrange(1, 1000):03}"
    exchange = rng.choice(["555", "911", f"{rng.randrange(1000):03}", f"{rng.randrange(200, 1000)}"])
    return f"{area}{exchange}{rng.randrange(10_000):04}"


def example(rng: random.Random, region: str = "") -> str:
    """A number near a valid one of the region or of any, as digits behind its calling code."""
    region = region or rng.choice(sorted(phonenumbers.SUPPORTED_REGIONS) + ["US", "GB", "DE"] * 60)
    kind = rng.choice([phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE])
    number = phonenumbers.example_number_for_type(region, kind)
    if number is None:
        return nanp(rng)
    national = list(phonenumbers.national_significant_number(number))
    for _ in range(rng.randrange(4)):
        national[rng.randrange(len(national))] = rng.choice("0123456789")
    if rng.random() < 0.1:
        national.pop()
    if rng.random() < 0.1:
        national.append(rng.choice("0123456789"))
    return f"{number.country_code}|{''.join(national)}"


def notation(rng: random.Random, digits: str) -> str:
    a, b, c = digits[:3], digits[3:6], digits[6:]
    return rng.choice(
        [
            digits,
            f"({a}) {b}-{c}",
            f"({a}){b}-{c}",
            f"{a}-{b}-{c}",
            f"{a}.{b}.{c}",
            f"{a} {b} {c}",
            f"{a}/{b}-{c}",
            f"1-{a}-{b}-{c}",
            f"1{digits}",
            f"+1{digits}",
            f"+1 ({a}) {b}-{c}",
            f"+1.{a}.{b}.{c}",
            f"+1 1 {digits}",
            f"001{digits}",
            f"011 1 {digits}",
            f"00 1 {digits}",
            f"({a} {b} {c}",
            f"{a}\u00a0{b}\u2011{c}",
        ]
    )


def foreign(rng: random.Random) -> str:
    code, _, national = example(rng).rpartition("|")
    grouped = " ".join(national[i : i + 3] for i in range(0, len(national), 3))
    return rng.choice(
        [
            f"+{code}{national}",
            f"+{code} {grouped}",
            f"+{code} (0){national}",
            f"+{code}0{national}",
            f"00{code}{national}",
            f"{code}{national}",
            f"0{national}",
            f"0{grouped}",
            f"0{national[:3]}/{national[3:]}",
            f"(0{national[:2]}) {national[2:]}",
            f"0-{grouped}",
            national,
            f"1{national}",
        ]
    )


def hostile(rng: random.Random) -> str:
    digits = nanp(rng)
    wide = "".join(chr(0xFF10 + int(c)) for c in digits)
    arabic = "".join(chr(0x0660 + int(c)) for c in digits)
    run = "".join(rng.choice("0123456789") for _ in range(rng.randrange(5, 19)))
    alphabet = "0123456789+-() .xX#,;*/~abcRT\x00\u200b\u0301²٣＋\ud800"
    junk = "".join(rng.choice(alphabet) for _ in range(rng.randrange(18)))
    return rng.choice(
        [
            run,
            f"+{run}",
            f"++{run}",
            f"+{run} ",
            f"{run[:4]} +{run[4:]}",
            wide,
            f"＋1{wide}",
            arabic,
            digits[:5] + arabic[5:],
            f"+1{digits[:9]}{wide[9:]}",
            f"{digits} x{rng.randrange(9999)}",
            f"{digits} ext. {rng.randrange(99)}",
            f"{digits};ext={rng.randrange(99)}",
            f"{digits} #{rng.randrange(999)}",
            f"{digits},,{rng.randrange(999)}#",
            f"tel:+1-{digits}",
            f"tel:{digits};phone-context=+1",
            "1-800-FLOWERS",
            f"1-800-{''.join(rng.choice('ABCDEFGHIJKLMNOPQRSTUVWXYZ') for _ in range(7))}",
            "555-CALL",
            f"{digits} / {digits}",
            f"Tel: {digits}",
            f"{digits} (home)",
            "0" * rng.randrange(1, 20),
            junk,
            f"{digits}{junk}",
            f"  {digits}\t",
            f"²{digits}",
            "n/a",
            "-",
            "1" * 300,
        ]
    )


def generated(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    makers = (lambda r: notation(r, nanp(r)), foreign, hostile)
    return [rng.choices(makers, (4, 3, 3))[0](rng) for _ in range(count)]


@pytest.mark.requirement("S0-016", "S0-017", "S1-051", "K-11", "K-12")
@pytest.mark.parametrize("region", REGIONS)
def test_the_fast_path_and_the_library_give_one_answer(region: str) -> None:
    """30,000 generated texts, realistic and hostile, are judged by every check as the library alone would."""
    checks: tuple[PhoneCheck, ...] = ("strict", "lenient", "off")
    differences = []
    for text in generated(seed=11, count=CASES):
        for check in checks:
            answer = parse_phone(text, region, check)
            e164 = None if isinstance(answer, PhoneFault) else answer.e164
            if e164 != expected(text, region, check):
                differences.append((text, check, e164, expected(text, region, check)))
    assert differences == []


@pytest.mark.requirement("K-11")
def test_every_region_of_the_library_is_read_as_it_reads_it() -> None:
    """Numbers near the valid ones of each region, dialled there or from abroad, get the library's answer."""
    rng = random.Random(13)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        metadata = PhoneMetadata.metadata_for_region(region)
        assert metadata is not None
        prefix = metadata.national_prefix or "0"
        for _ in range(40):
            code, _, national = example(rng, region).rpartition("|")
            for text in (f"+{code}{national}", f"{prefix}{national}", national, f"{prefix}{national[2:]}"):
                answer = parse_phone(text, region, "strict")
                e164 = answer.e164 if isinstance(answer, Phone) else None
                assert e164 == expected(text, region, "strict"), (text, region)


@pytest.mark.requirement("K-11")
def test_every_area_code_is_open_only_where_the_library_takes_all_its_numbers() -> None:
    """Area codes read without the library are those whose exchanges 200 to 999 are all valid."""
    rng = random.Random(5)
    assert len(OPEN_AREA_CODES) > 400
    for area in OPEN_AREA_CODES:
        for first in "23456789":
            number = f"{area}{first}{rng.randrange(1_000_000):06}"
            assert library_e164(number, "US")[0] == f"+1{number}"


@pytest.mark.parametrize(
    "text",
    [
        "(415) 555-2671",
        "415-555-2671",
        "4155552671",
        "14155552671",
        "+1 415.555.2671",
        "+493012345678",
        "030 12345678",
    ],
)
def test_usual_notations_do_not_reach_the_library(text: str) -> None:
    """The forms that files are full of are read by the fast path; only odd ones cost a library call."""
    _read_by_library.cache_clear()
    assert isinstance(parse_phone(text, "DE" if text.startswith("0") else "US", "strict"), Phone)
    assert _read_by_library.cache_info().misses == 0
    parse_phone("415-555-2671 x5", "US", "strict")
    assert _read_by_library.cache_info().misses == 1


@pytest.mark.requirement("S1-051", "K-11", "K-12", "T-18")
@pytest.mark.parametrize(
    ("text", "region", "strict", "lenient", "off"),
    [
        ("(415) 555-2671", "US", "+14155552671", "+14155552671", "+14155552671"),
        ("  (415) 555-2671 x123 ", "US", "+14155552671", "+14155552671", "+14155552671"),
        ("415-555-2671 ext. 5", "US", "+14155552671", "+14155552671", "+14155552671"),
        ("020 7946 0958", "GB", "+442079460958", "+442079460958", "+442079460958"),
        ("030/901820", "DE", "+4930901820", None, "+4930901820"),
        ("1-800-FLOWERS", "US", "+18003569377", None, "+18003569377"),
        ("555-CALL", "US", None, None, ""),
        ("(555) 123-4567", "US", None, "+15551234567", ""),
        ("15551234567", "US", None, "+15551234567", ""),
        ("555123456", "US", None, None, ""),
        ("555-1234 x567", "US", None, None, ""),
        ("+1234567890", "US", None, "+1234567890", ""),
        ("442079460000000", "US", None, "+442079460000000", ""),
        ("1234567890123456", "US", None, None, ""),
        ("+0123456789012", "US", None, None, ""),
        ("", "US", "", "", ""),
        (" \t", "US", "", "", ""),
        ("4155552671", "ZZ", None, None, ""),
        ("1" * 251, "US", None, None, ""),
    ],
)
def test_the_three_checks(
    text: str, region: str, strict: str | None, lenient: str | None, off: str | None
) -> None:
    """Strict takes valid numbers, lenient ten digits, off everything; a fault says so in one fixed way."""
    answers: dict[PhoneCheck, str | None] = {"strict": strict, "lenient": lenient, "off": off}
    for check, e164 in answers.items():
        answer = parse_phone(text, region, check)
        assert answer == (INVALID if e164 is None else Phone(e164, text.strip()))


def test_a_fault_has_the_code_and_sentence_of_the_contract() -> None:
    """The fault names the fact in the words of the API document."""
    assert parse_phone("555-CALL", "US", "strict") == PhoneFault(
        "phone_invalid", "Invalid phone number format"
    )


@pytest.mark.requirement("K-11")
def test_an_identity_is_its_own_identity() -> None:
    """An E.164 form read again, anywhere and by any check that takes it, is the same identity."""
    for text in generated(seed=12, count=3_000):
        answer = parse_phone(text, "US", "lenient")
        if isinstance(answer, Phone) and answer.e164:
            valid = library_e164(text.strip(), "US")[0]
            again = parse_phone(answer.e164, "GB", "strict" if valid else "lenient")
            assert again == Phone(answer.e164, answer.e164)


def test_the_memory_of_odd_numbers_is_bounded() -> None:
    """However many odd numbers a file holds, a process remembers a fixed count of them."""
    assert _read_by_library.cache_info().maxsize == 4096


@pytest.mark.requirement("K-11", "S3-023", "T-18")
@pytest.mark.parametrize(
    ("e164", "shown", "digits"),
    [
        ("+14155552671", "+1 (415) 555-2671", "14155552671"),
        ("+12345678900", "+1 (234) 567-8900", "12345678900"),
        ("+442079460958", "+44 20 7946 0958", "442079460958"),
        ("+493012345678", "+49 30 12345678", "493012345678"),
        ("+999123456789", "+999123456789", "999123456789"),
        ("", "", ""),
    ],
)
def test_doors_show_a_number_in_their_own_form(e164: str, shown: str, digits: str) -> None:
    """One stored number, shown with brackets to people and as bare digits to the phone doors."""
    assert display_phone(e164) == shown
    assert digits_phone(e164) == digits
