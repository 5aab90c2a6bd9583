"""Phone numbers: text to E.164, by one of three checks (K-11, K-12).

- `strict`: a number that libphonenumber calls valid, as its E.164 form. Everything else is a fault.
- `lenient`: at least ten digits (S1-051), the extension not counted. A valid number gives the same E.164
  form as under `strict`. Otherwise a leading plus, or more than ten digits with no zero in front, means
  that the country code is there already; ten digits, or a zero in front, get the region's country code, as
  libphonenumber parses them. What then has fewer than ten digits, or more than the fifteen of E.164 (ITU-T
  E.164, 6.2), is a fault. So the ten-digit rule refuses what `strict` might take: vanity letters are no
  digits, and some countries' numbers are shorter.
- `off`: the E.164 form of a valid number; any other text is kept, and is no identity.

An extension ("x123", "ext. 5") is read and is not part of the E.164 form. Blank text is no number and no
fault: phones are optional (S1-051), and which profile needs one is not decided here.

Valid numbers in the usual notations are read here in about a microsecond, out of the library's own
metadata, and whatever these rules are not made for goes to the library (25 µs and more).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

import msgspec
import phonenumbers

from sluice.values.numbering import NANP_REGIONS, OPEN_AREA_CODES, calling_code_of, is_valid, national_number

PhoneCheck = Literal["strict", "lenient", "off"]


class Phone(msgspec.Struct, frozen=True, gc=False):
    """A phone number. `e164` is its identity, empty when it has none; `text` is what was given, trimmed."""

    e164: str
    text: str


class PhoneFault(msgspec.Struct, frozen=True, gc=False):
    """Why a text is not a phone number."""

    code: str
    message: str


INVALID = PhoneFault("phone_invalid", "Invalid phone number format")


class _Reading(msgspec.Struct, frozen=True, gc=False):
    """What a text says: the E.164 form if it is valid, the one it parses to, and the extension."""

    valid: str
    parsed: str
    extension: str


_NOTHING_READ = _Reading("", "", "")

_DROP_SEPARATORS = str.maketrans("", "", " -.()/")

_MAX_TEXT = 250
"""The longest text that libphonenumber looks at (its `_MAX_INPUT_STRING_LENGTH`)."""

_LENIENT_E164 = re.compile(r"\+[1-9][0-9]{9,14}")
_LEADING_PLUS = re.compile(r"[^\d+＋]*[+＋]")


def parse_phone(text: str, region: str, check: PhoneCheck) -> Phone | PhoneFault:
    """The number in `text`, dialled in `region` (ISO 3166 alpha-2, capitals) where it names no country."""
    given = text.strip()
    digits = given if given.isdigit() else given.translate(_DROP_SEPARATORS)
    # The usual case on the row path: ten digits of North America, in any of its notations.
    if digits[:2] == "+1":
        national = digits[2:]
    elif region in NANP_REGIONS:
        national = digits[1:] if digits[:1] == "1" else digits
    else:
        national = ""
    if (
        len(national) == 10
        and national[:3] in OPEN_AREA_CODES
        and national[3] >= "2"
        and national.isdigit()
        and national.isascii()
    ):
        return Phone("+1" + national, given)
    return _judge(given, digits, region, check)


def _judge(given: str, digits: str, region: str, check: PhoneCheck) -> Phone | PhoneFault:
    if not given:
        return Phone("", "")
    if len(given) > _MAX_TEXT:
        return Phone("", given) if check == "off" else INVALID
    reading = _read_by_plan(digits, region) or _read_by_library(given, region)
    e164 = _lenient(given, reading) if check == "lenient" else reading.valid
    if e164 or check == "off":
        return Phone(e164, given)
    return INVALID


def _lenient(given: str, reading: _Reading) -> str:
    digits = "".join(str(unicodedata.decimal(c)) for c in given if c.isdecimal())
    if reading.extension:
        digits = digits[: -len(reading.extension)]
    if len(digits) < 10:
        return ""
    if reading.valid:
        return reading.valid
    names_country = _LEADING_PLUS.match(given) or (len(digits) > 10 and digits[0] != "0")
    e164 = "+" + digits if names_country else reading.parsed
    return e164 if _LENIENT_E164.fullmatch(e164) else ""


def _read_by_plan(digits: str, region: str) -> _Reading | None:
    """Reads a number that is digits alone, behind a plus or not; None where the library must decide."""
    if digits[:1] == "+":
        code = calling_code_of(digits)
        national = national_number(code, "", digits[1 + len(code) :]) if code else None
    else:
        code, national = "", national_number("", region, digits)
    if national is None:
        return None
    code = code or str(phonenumbers.country_code_for_region(region))
    e164 = f"+{code}{national}"
    return _Reading(e164 if is_valid(code, national) else "", e164, "")


# A file repeats its odd numbers (a switchboard with an extension, "n/a", "unknown"); 4,096 of them at no more
# than 250 characters each stay below 5 MB a process.
@lru_cache(maxsize=4096)
def _read_by_library(given: str, region: str) -> _Reading:
    try:
        number = phonenumbers.parse(given, region)
    except phonenumbers.NumberParseException:
        return _NOTHING_READ
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    valid = e164 if phonenumbers.is_valid_number(number) else ""
    return _Reading(valid, e164, number.extension or "")


def display_phone(e164: str) -> str:
    """How an E.164 number is shown to people: `+1 (415) 555-2671`, elsewhere its country's own form.

    What is not E.164 is answered as it is.
    """
    if len(e164) == 12 and e164[:2] == "+1":
        return f"+1 ({e164[2:5]}) {e164[5:8]}-{e164[8:]}"
    try:
        number = phonenumbers.parse(e164)
    except phonenumbers.NumberParseException:
        return e164
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def digits_phone(e164: str) -> str:
    """The digits of an E.164 number without the plus: `15551234567` (S3-023)."""
    return e164.removeprefix("+")
