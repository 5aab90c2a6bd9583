"""An independent, single-threaded reading of the row rules (docs/row-rules.md) over plain dictionaries.

It shares no code with the pipeline: it knows the rules, the library's verdict on a number or an address,
and the order in which the organization's batches were applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import email_validator
import phonenumbers

FIELDS = ("first_name", "last_name", "company", "title", "city", "zip", "country", "tags", "notes")


@dataclass
class Options:
    """The part of a job's options that the rules know."""

    on_duplicate: str = "skip"
    match_on: str = "email"
    phone_check: str = "strict"
    dnc_policy: str = "flag"
    blanks: str = "keep"
    required: tuple[str, ...] = ()
    exclude_rows: tuple[int, ...] = ()
    mode: str = "partial"
    dry_run: bool = False


@dataclass
class Job:
    """A file as the generator made it: the texts given in each row, or None for a row that is broken."""

    rows: Sequence[dict[str, str] | None]
    options: Options
    columns: tuple[str, ...]


@dataclass
class Organization:
    """What one tenant holds: contacts by a number of our own, and the two unique identities."""

    contacts: dict[int, dict[str, Any]] = field(default_factory=dict)
    listed: dict[str, str] = field(default_factory=dict)
    holders: dict[tuple[str, str], int] = field(default_factory=dict)
    next_id: int = 1

    def holder(self, name: str, value: str) -> int | None:
        return self.holders.get((name, value)) if value else None

    def _index(self, number: int, before: dict[str, Any]) -> None:
        for name in ("email", "phone_formatted"):
            if before.get(name):
                self.holders.pop((name, before[name]), None)
        for name in ("email", "phone_formatted"):
            if self.contacts[number].get(name):
                self.holders[name, self.contacts[number][name]] = number

    def apply(self, job_key: object, job: Job, rows: Iterable[int]) -> list[str]:
        """Apply the rows with these numbers, in order; their outcomes."""
        return [self._row(job_key, job, number) for number in rows]

    def hold(self, contact: dict[str, Any]) -> None:
        """A contact that was there before any import; `modified_at` is when it was changed last."""
        self._create(None, contact, listed=False)

    def edit(self, before: Mapping[str, str], after: Mapping[str, str] | None) -> None:
        """A user changed the contact that was `before`, or deleted it."""
        number = self._found(before)
        held = self.contacts[number]
        if after is None:
            self.contacts[number] = {}
            self._index(number, held)
            del self.contacts[number]
            return
        old = dict(held)
        held.update({name: after.get(name, "") for name in ("email", "phone", "phone_formatted")})
        self._index(number, old)

    def _found(self, values: Mapping[str, str]) -> int:
        for name in ("email", "phone_formatted"):
            number = self.holder(name, values.get(name, ""))
            if number is not None:
                return number
        raise AssertionError(f"no contact has the identities of {values}")

    def _row(self, job_key: object, job: Job, number: int) -> str:
        given = job.rows[number - 1]
        options = job.options
        if number in options.exclude_rows:
            return "excluded"
        if given is None:
            return "invalid"
        row = {name: text.strip() for name, text in given.items()}
        if not row.get("email") and not row.get("phone"):
            return "no_identity"
        if any(not row.get(name) for name in options.required):
            return "invalid"
        clean = read_row(row, options)
        if clean is None:
            return "invalid"
        phone = clean.get("phone_formatted", "")
        listed = bool(phone) and phone in self.listed
        if listed and options.dnc_policy == "exclude":
            return "suppressed_dnc"
        return self._judge(job_key, job, clean, listed)

    def _judge(self, job_key: object, job: Job, row: dict[str, Any], listed: bool) -> str:
        by_email = self.holder("email", row.get("email", ""))
        by_phone = self.holder("phone_formatted", row.get("phone_formatted", ""))
        wanted = {"email": [by_email], "phone": [by_phone], "either": [by_email, by_phone]}
        hits = {hit for hit in wanted[job.options.match_on] if hit is not None}
        if len(hits) > 1:
            return "conflict"
        if not hits:
            if by_email is not None or by_phone is not None:
                return "conflict"
            self._create(job_key, row, listed)
            return "created"
        number = hits.pop()
        contact = self.contacts[number]
        policy = job.options.on_duplicate
        if policy == "skip":
            if listed:
                contact["do_not_call"] = True
            return "duplicate_in_file" if contact["made_by"] == job_key else "duplicate_existing"
        changed = _applied(contact, row, policy)
        if listed:
            changed["do_not_call"] = True
        if all(changed.get(name) == contact.get(name) for name in changed):
            return "unchanged"
        if any(other not in (None, number) for other in (by_email, by_phone)):
            return "conflict"
        newer = _newer(row, contact)
        before = dict(contact)
        contact.update(changed)
        self._index(number, before)
        if policy == "overwrite" or (policy == "merge_newest" and newer):
            contact["stamp"] = row.get("modified_at") or "job"
        return "merged" if policy == "merge_newest" else "updated"

    def _create(self, job_key: object, row: dict[str, Any], listed: bool) -> None:
        contact = {name: value for name, value in row.items() if value and name != "modified_at"}
        contact |= {"made_by": job_key, "do_not_call": listed, "stamp": row.get("modified_at") or "job"}
        self.contacts[self.next_id] = contact
        self._index(self.next_id, {})
        self.next_id += 1


def _newer(row: dict[str, Any], contact: dict[str, Any]) -> bool:
    """ISO texts of one form compare as times; a job's own time is later than any that the generator makes."""
    mine = row.get("modified_at")
    return bool(mine) and contact["stamp"] != "job" and mine > contact["stamp"]


def _applied(contact: dict[str, Any], row: dict[str, Any], policy: str) -> dict[str, Any]:
    wins = policy == "overwrite" or (policy == "merge_newest" and _newer(row, contact))
    result: dict[str, Any] = {}
    for name, value in row.items():
        held = contact.get(name, "")
        if name in ("modified_at", "phone", "phone_formatted"):
            continue
        if name == "tags" and policy == "merge_newest":
            both = [tag for tag in f"{held};{value}".split(";") if tag]
            result[name] = ";".join(dict.fromkeys(both))
        elif wins or not held:
            result[name] = value
    if "phone" in row:
        held, number = contact.get("phone", ""), row.get("phone_formatted", "")
        same = number == contact.get("phone_formatted", "") and (number or row["phone"] == held)
        if not same and (wins or not held):
            result |= {"phone": row["phone"], "phone_formatted": number}
    # Absent and empty are one.
    return {name: value for name, value in result.items() if value or contact.get(name)}


def read_row(row: dict[str, str], options: Options) -> dict[str, Any] | None:
    """The row's values in canonical form; None when one of them breaks its rule."""
    clean: dict[str, Any] = {}
    for name, text in row.items():
        if not text:
            if options.blanks == "clear" and name != "modified_at":
                clean[name] = ""
                if name == "phone":
                    clean |= {"phone_formatted": "", "other_phones": ""}
                if name == "email":
                    clean["other_emails"] = ""
        elif name == "email":
            chosen, others = _chosen(text, [lambda one: _email(one) is not None])
            address = _email(chosen)
            if address is None:
                return None
            clean |= {"email": address, "other_emails": others}
        elif name == "phone":
            # A number that can find somebody goes before one that is only kept.
            tests = [
                lambda one: bool(_phone(one, options.phone_check)),
                lambda _: options.phone_check == "off",
            ]
            chosen, others = _chosen(text, tests)
            number = _phone(chosen, options.phone_check)
            if number is None or not chosen or len(chosen) > 40:
                return None
            clean |= {"phone": chosen, "phone_formatted": number, "other_phones": others}
        elif name == "tags":
            tags = text.replace(":::", ";").split(";")
            clean["tags"] = ";".join(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
        elif name in ("first_name", "title", "city") and len(text) > 100:
            return None
        else:
            clean[name] = text
    if options.blanks == "keep":
        for name in ("other_emails", "other_phones"):
            if not clean.get(name):
                clean.pop(name, None)
    return clean


def _chosen(text: str, tests: Sequence[Callable[[str], bool]]) -> tuple[str, str]:
    """Of a cell's first 20 values the one that passes the first test that any passes; and all others."""
    values = [value.strip() for value in text.split(":::") if value.strip()]
    for passes in tests:
        for at, value in enumerate(values[:20]):
            if passes(value):
                return value, " ::: ".join(values[:at] + values[at + 1 :])
    return (values[0] if len(values) == 1 else ""), ""


@cache
def _email(text: str) -> str | None:
    try:
        return email_validator.validate_email(text, check_deliverability=False).normalized.lower()
    except email_validator.EmailNotValidError:
        return None


@cache
def _phone(text: str, check: str) -> str | None:
    """E.164, empty when the text is kept but is no identity, None when it breaks the rule. Region US."""
    try:
        number = phonenumbers.parse(text, "US")
        if phonenumbers.is_valid_number(number):
            return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    except phonenumbers.NumberParseException:
        pass
    if check == "strict":
        return None
    if check == "off":
        return ""
    digits = "".join(letter for letter in text if letter.isdigit())
    if len(digits) < 10 or len(digits) > 15:
        return None
    return f"+1{digits}" if len(digits) == 10 else f"+{digits}"
