"""Countries: free text becomes a two-letter code, or honestly nothing."""

from __future__ import annotations

import phonenumbers
import pytest

from sluice.values.country import ALPHA_2, parse_country


@pytest.mark.requirement("K-10")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("United States", "US"),
        ("united states of america", "US"),
        ("USA", "US"),
        ("U.S.A.", "US"),
        (" us ", "US"),
        ("UK", "GB"),
        ("England", "GB"),
        ("Deutschland", "DE"),
        ("DEU", "DE"),
        ("The Netherlands", "NL"),
        ("Österreich", "AT"),
        ("Osterreich", "AT"),
        ("Cote d Ivoire", "CI"),
        ("CÔTE D’IVOIRE", "CI"),
        ("Antigua & Barbuda", "AG"),
        ("España", "ES"),
        ("Brasil", "BR"),
        ("Россия", "RU"),
        ("日本", "JP"),
        ("Turkey", "TR"),
        ("St. Lucia", "LC"),
        ("Korea, Republic of", "KR"),
    ],
)
def test_a_country_is_found_by_its_codes_and_names(text: str, code: str) -> None:
    """Codes, English names, usual aliases and own names lead to ISO 3166-1 alpha-2."""
    assert parse_country(text) == code


@pytest.mark.requirement("K-10")
@pytest.mark.parametrize(
    "text", ["", "  ", "the", "Korea", "Atlantis", "ZZ", "USAX", "n/a", "N/A ", "-", "US" * 100_000, "\x00"]
)
def test_what_names_no_country_is_unknown(text: str) -> None:
    """Unknown or ambiguous text is answered by None, never by a guess."""
    assert parse_country(text) is None


def test_every_country_with_phones_is_known() -> None:
    """The table is whole: it has every region that the phone library knows, each under its own code."""
    # Ascension and Tristan da Cunha have a calling code and are no countries of ISO 3166-1.
    missing = set(phonenumbers.SUPPORTED_REGIONS) - {"AC", "TA"} - ALPHA_2
    assert missing == set()
    assert len(ALPHA_2) == 249 + 1
    assert all(parse_country(code) == code == parse_country(code.lower()) for code in ALPHA_2)
