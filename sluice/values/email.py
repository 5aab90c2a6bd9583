"""E-mail addresses: text to an address and its identity (S1-050).

The policy is syntax alone: an import asks neither DNS nor a mail server. Beyond that it takes what address
books hold and refuses what would give one mailbox several spellings:

- taken: dot-atom local parts (RFC 5321) of up to 64 octets, international ones too (RFC 6531),
  international domains in either spelling, addresses of up to 254 octets, and names reserved for tests or
  private networks (`.test`, `.local`): whether mail arrives there is not asked.
- taken with a domain of one label only where it is a country's code (`test@io`): ICANN forbids mail hosts
  at the other top-level domains (SAC 053), and `someone@gmail` is a typing mistake.
- refused although RFC 5322 has a reading for them: quoted local parts, IP literals, comments and folded
  lines, a display name, all-numeric top-level domains.
- blanks around the address are trimmed, line breaks are not: in an address they are an injection, not a
  blank.

The identity is the whole normalized address in lower case. RFC 5321 would let a host tell `Ann@` from
`ann@`; none of note does, and files spell both. The usual addresses are read by one expression in about
half a microsecond; the rest goes to email-validator, whose answer the expression is held to.
"""

from __future__ import annotations

import re
from functools import lru_cache

import email_validator
import msgspec

from sluice.values.country import ALPHA_2

# The library offers this list for change. With it a well-formed address in a private network is refused.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


class Email(msgspec.Struct, frozen=True, gc=False):
    """An address. `text` is what was given, trimmed; `key` its identity, at most 320 characters (S4-011)."""

    text: str
    key: str


class EmailFault(msgspec.Struct, frozen=True, gc=False):
    """Why a text is not an e-mail address."""

    code: str
    message: str


INVALID = EmailFault("email_invalid", "Invalid email format")

_MAX_TEXT = 254
"""RFC 5321, 4.5.3.1.3 (erratum 1690); no longer text can be an address, so no longer text is looked at."""

_SHORT = 66
"""Up to this length neither a local part (64) nor a label (63) can be too long."""

# No label may hold two hyphens in a row (RFC 5890, 2.3.1: reserved, Punycode): those are for the library.
_USUAL = re.compile(
    r"[a-z0-9_+'-]+(?:\.[a-z0-9_+'-]+)*"
    r"@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z]{2,}"
).fullmatch

_BLANKS = " \t\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"


def parse_email(text: str) -> Email | EmailFault:
    """The address in `text`. Blank text is a fault: whether an address was given at all is asked before."""
    given = text.strip(_BLANKS)
    if len(given) <= _SHORT and given.isascii() and _USUAL(key := given.lower()):
        return Email(given, key)
    if len(given) > _MAX_TEXT:
        return INVALID
    key = _key_by_library(given)
    return Email(given, key) if key else INVALID


# Odd addresses repeat in a file ("n/a", "none@none"); 4,096 of at most 254 characters stay below 4 MB.
@lru_cache(maxsize=4096)
def _key_by_library(given: str) -> str:
    """The identity of an address that is valid by the policy above, else an empty text."""
    in_country = given.rpartition("@")[2].upper() in ALPHA_2
    try:
        found = email_validator.validate_email(
            given,
            check_deliverability=False,
            strict=True,
            allow_smtputf8=True,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            globally_deliverable=not in_country,
        )
    except email_validator.EmailNotValidError:
        return ""
    return found.normalized.lower()
