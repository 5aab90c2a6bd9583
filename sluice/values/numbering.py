"""Numbering plans out of libphonenumber's metadata, in a form that answers in a microsecond.

The library parses a text step by step for every notation there is. For a text that is known to be digits
alone the steps shrink to three: find the calling code, strip the national prefix, match the number with its
regions' patterns. This module does those three with the library's own patterns, and answers None where a
step of the library would do more (carrier codes, international prefixes, a repeated country code).
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

_TYPES = (
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
    "fixed_line",
    "mobile",
)
"""The kinds of number that make a number valid (the library's `_number_type_helper`)."""

NANP_REGIONS = frozenset({"US", "CA"})
"""Regions whose ten-digit numbers are read first; they share one plan and one national prefix, 1."""


class _Region(NamedTuple):
    leading_digits: re.Pattern[str] | None
    numbers: re.Pattern[str]


class _Prefixes(NamedTuple):
    calling_code: str
    international: re.Pattern[str] | None
    national: re.Pattern[str] | None
    general: re.Pattern[str]
    lengths: frozenset[int]


def calling_code_of(digits: str) -> str:
    """The calling code of `+` and ASCII digits, empty when no country has it. No code begins another one."""
    if not (digits[1:].isdigit() and digits.isascii()):
        return ""
    for end in (2, 3, 4):
        if int(digits[1:end]) in COUNTRY_CODE_TO_REGION_CODE:
            return digits[1:end] if digits[1] != "0" else ""
    return ""


def national_number(code: str, region: str, digits: str) -> str | None:
    """The national significant number in `digits`, None where the library must decide.

    Either `code` is given, and the digits follow it, or `region`, and they are as dialled there.
    """
    if not (6 <= len(digits) <= 14 and digits.isdigit() and digits.isascii()):
        return None
    prefixes = _prefixes(code, region)
    if prefixes is None:
        return None
    if not code and (
        digits.startswith(prefixes.calling_code)
        or (prefixes.international and prefixes.international.match(digits))
    ):
        return None
    match = prefixes.national.match(digits) if prefixes.national else None
    if match is None:
        return digits
    return None if code else _without_prefix(digits, match, prefixes)


def _without_prefix(digits: str, match: re.Match[str], prefixes: _Prefixes) -> str | None:
    stripped = digits[match.end() :]
    # A group captures a carrier code or asks for a transformation; another length may keep the prefix.
    if match.re.groups or len(stripped) not in prefixes.lengths or prefixes.general.fullmatch(digits):
        return None
    return stripped


def is_valid(code: str, national: str) -> bool:
    """Whether the library calls this national number of this calling code valid."""
    for region in _regions(code):
        if region.leading_digits is None:
            if region.numbers.fullmatch(national):
                return True
        elif region.leading_digits.match(national):
            return region.numbers.fullmatch(national) is not None
    return False


@cache  # one entry a country: about 250
def _prefixes(code: str, region: str) -> _Prefixes | None:
    if code:
        region = COUNTRY_CODE_TO_REGION_CODE[int(code)][0]
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
    else:
        metadata = PhoneMetadata.metadata_for_region(region, None)
    if metadata is None:
        return None
    general = metadata.general_desc
    assert general is not None, "every region's metadata has a general description"
    return _Prefixes(
        calling_code=str(metadata.country_code),
        international=_compiled(metadata.international_prefix),
        national=_compiled(metadata.national_prefix_for_parsing),
        general=re.compile(general.national_number_pattern or "", re.ASCII),
        lengths=frozenset(general.possible_length) - frozenset(general.possible_length_local_only),
    )


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    return re.compile(pattern) if pattern else None


@cache  # one entry a calling code: about 220
def _regions(code: str) -> tuple[_Region, ...]:
    """The code's regions in the library's order. One alone is the region whatever its leading digits are."""
    regions = COUNTRY_CODE_TO_REGION_CODE[int(code)]
    return tuple(_region(int(code), region, alone=len(regions) == 1) for region in regions)


def _region(code: int, region: str, *, alone: bool) -> _Region:
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    assert metadata is not None, "a region of the country code table has metadata"
    descriptions = [getattr(metadata, name) for name in _TYPES]
    patterns = dict.fromkeys(_pattern(each) for each in descriptions if each and each.national_number_pattern)
    assert metadata.general_desc is not None, "every region's metadata has a general description"
    numbers = re.compile(rf"(?={_pattern(metadata.general_desc)}\Z)(?:{'|'.join(patterns)})", re.ASCII)
    return _Region(None if alone else _compiled(metadata.leading_digits), numbers)


def _pattern(description: PhoneNumberDesc) -> str:
    lengths = "|".join(rf"[0-9]{{{n}}}" for n in description.possible_length)
    return (rf"(?=(?:{lengths})\Z)" if lengths else "") + f"(?:{description.national_number_pattern})"


def _open_area_codes() -> frozenset[str]:
    """The area codes of North America in which every number that starts with 2 to 9 is valid.

    Most patterns are a choice of area codes followed by `[2-9]\\d{6}`. Those of one island, where only some
    exchanges exist, are not.
    """
    rest = r"[2-9]\d{6}"
    found: set[str] = set()
    area_codes = [str(n) for n in range(200, 1000)]
    for region in COUNTRY_CODE_TO_REGION_CODE[1]:
        metadata = PhoneMetadata.metadata_for_region(region)
        assert metadata is not None, "a region of the country code table has metadata"
        for name in _TYPES:
            description = getattr(metadata, name)
            for choice in _choices(description.national_number_pattern or "") if description else ():
                if choice.endswith(rest):
                    area = re.compile(choice.removesuffix(rest))
                    found.update(code for code in area_codes if area.fullmatch(code))
    return frozenset(found)


def _choices(pattern: str) -> list[str]:
    """The alternatives of a pattern that stand outside all brackets."""
    choices, depth = [""], 0
    for character in pattern:
        if character == "|" and depth == 0:
            choices.append("")
            continue
        depth += (character == "(") - (character == ")")
        choices[-1] += character
    return choices


OPEN_AREA_CODES = _open_area_codes()
