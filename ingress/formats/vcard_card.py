"""One card as the fields of one contact.

- Properties that are a field of ours have its name, all others their own in lower case.
- Several values are joined by " ::: ", the preferred one (PREF) first, each once.
- The address fields are those of the preferred address; the others are text in `other_addresses`.
- A second name (N), such as the same in another script, is text in `other_names`.
- Fax and pager numbers are no telephone numbers and have fields of their own.
- `full_name` (FN) is given where the card has no other name, unless it only repeats the company.
- Pictures, sounds and keys are left out, unless by their address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ingress.formats.opening import VALUE_SEPARATOR
from ingress.formats.records import RowFault, row_fault
from ingress.formats.rows import MAX_ROW_BYTES
from ingress.formats.vcard_lines import Charset, ContentLine, Head, property_of, split_value, unescape

FIELDS = (
    *("first_name", "last_name", "full_name", "email", "phone", "company", "title"),
    *("address", "city", "state", "zip", "country", "tags", "notes", "modified_at"),
)

# Texts that are a field of ours, or whose own name would be taken for another: a LABEL is an address, while
# labels are tags everywhere else.
_NAMES = {"TITLE": "title", "NOTE": "notes", "LABEL": "address_label"}

# What tells of the file or of another property, not of the person.
_LEFT_OUT = frozenset(
    {"PRODID", "PROFILE", "MEMBER", "CLIENTPIDMAP", "X-ABADR", "X-MS-CARDPICTURE", "X-MS-OL-DESIGN"}
    | {"X-ADDRESSBOOKSERVER-MEMBER", "X-MS-OL-DEFAULT-POSTAL-ADDRESS", "X-COUCHDB-APPLICATION-ANNOTATIONS"}
)

_NAME_PARTS = ("last_name", "first_name", "middle_name", "name_prefix", "name_suffix")
_GROUPS = frozenset({"group", "list"})
_SPOKEN = frozenset({"voice", "cell", "text"})

_BASIC_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_LABEL = re.compile(r"_\$!<(.*)>!\$_")
_FULL_NAME = re.compile(r"^FN[^:\n]*:(.+)$", re.IGNORECASE | re.MULTILINE)
_EXTENSION = re.compile(r";ext=", re.IGNORECASE)
_PARAMETERS = re.compile(r";[\w-]+=.*")


class Card:
    """A card while its lines come. `line` is its first one, `fault` what was first found wrong with it."""

    def __init__(self, line: int, fault: RowFault | None = None) -> None:
        self.line = line
        self.fault = fault
        self._values: dict[str, list[tuple[int, str]]] = {}
        self._addresses: list[tuple[int, list[str]]] = []
        self._name: list[str] = []
        self._full_name = ""
        self._labelled: list[tuple[str, Head, str]] = []
        self._labels: dict[str, str] = {}
        self._is_old = False  # version 2.1
        self._size = 0
        self._after_agent = False
        self._agents = 0  # cards within this one that are open

    def find_fault(self, fault: RowFault) -> None:
        """Say what is wrong with the card; the first fault stays."""
        self.fault = self.fault or fault

    def enters_agent(self) -> bool:
        """Whether the card that begins here is an AGENT's, within this one."""
        entered, self._after_agent = self._after_agent, False
        self._agents += entered
        return entered

    def leaves_agent(self) -> bool:
        """Whether the end that stands here is an AGENT's."""
        left = self._agents > 0
        self._agents -= left
        return left

    def add(self, line: ContentLine, charset: Charset) -> None:
        """Take a property."""
        parsed = property_of(line.text)
        if parsed is None:
            self.find_fault(
                row_fault("broken_line", line=line.number, problem="it is no property with a value")
            )
            return
        head, raw = parsed
        self._after_agent = head.name == "AGENT" and not raw.strip()
        if head.name in _LEFT_OUT or (self._agents and (head.name != "FN" or self._agents > 1)):
            return
        if head.is_binary:
            if raw[:4].lower() == "http" and not line.is_cut:
                self._put(head.name.lower(), head, raw)
            return
        self._size += len(line.text)
        if line.is_cut or self._size > MAX_ROW_BYTES:
            self.find_fault(row_fault("row_too_long", limit=MAX_ROW_BYTES))
            return
        value = charset.decode(head, raw)
        if self._agents:
            self._put("agent", head, self._text(value))
        else:
            _READERS.get(head.name, Card._read_text)(self, head, value)

    def fields(self) -> dict[str, str]:
        """The card's values by field."""
        for name, head, value in self._labelled:
            label = self._labels.get(head.group, "")
            self._put(f"{name} {label.lower()}".strip(), head, value)
        self._labelled.clear()
        self._put_addresses()
        fields = {name: _joined(values) for name, values in self._values.items()}
        nameless = "first_name" not in fields and "last_name" not in fields
        if nameless and self._full_name and self._full_name != fields.get("company"):
            fields["full_name"] = self._full_name
        return fields

    def _put(self, name: str, head: Head, value: str) -> None:
        if trimmed := value.strip():
            self._values.setdefault(name, []).append((head.preference, trimmed))

    def _text(self, value: str) -> str:
        return unescape(value, is_old=self._is_old)

    def _texts(self, value: str) -> list[str]:
        return [self._text(part) for part in split_value(value, ";")]

    def _listed(self, value: str) -> str:
        """A component that may be a list, which version 2.1 does not have."""
        return self._text(value) if self._is_old else " ".join(map(self._text, split_value(value, ",")))

    def _read_text(self, head: Head, value: str) -> None:
        self._put(_NAMES.get(head.name) or head.name.lower(), head, self._text(value))

    def _read_version(self, head: Head, value: str) -> None:
        self._is_old = value.strip().startswith("2")

    def _read_name(self, head: Head, value: str) -> None:
        parts = [self._listed(part) for part in split_value(value, ";")]
        if not any(name in self._values for name in _NAME_PARTS):
            self._name = parts
            for name, part in zip(_NAME_PARTS, parts, strict=False):
                self._put(name, head, part)
        elif parts != self._name:
            last, first, middle, prefix, suffix = [*parts, *[""] * 5][:5]
            self._put("other_names", head, " ".join(filter(None, (prefix, first, middle, last, suffix))))

    def _read_full_name(self, head: Head, value: str) -> None:
        self._full_name = self._full_name or self._text(value)

    def _read_email(self, head: Head, value: str) -> None:
        self._put("email", head, self._text(value).removeprefix("mailto:"))

    def _read_phone(self, head: Head, value: str) -> None:
        number = self._text(value)
        if number[:4].lower() == "tel:":
            number = _PARAMETERS.sub("", _EXTENSION.sub(" ext. ", number[4:]))
        kind = (
            "phone"
            if head.types & _SPOKEN
            else next((t for t in ("fax", "pager") if t in head.types), "phone")
        )
        self._put(kind, head, number)

    def _read_company(self, head: Head, value: str) -> None:
        company, *units = self._texts(value)
        self._put("company", head, company)
        self._put("department", head, ", ".join(filter(None, units)))

    def _read_address(self, head: Head, value: str) -> None:
        parts = self._texts(value)
        if any(parts):
            box, extended, street, *places = [*parts, *[""] * 7][:7]
            self._addresses.append((head.preference, [_in_one_line(street, extended, box), *places]))

    def _put_addresses(self) -> None:
        self._addresses.sort(key=lambda address: address[0])
        for number, (preference, parts) in enumerate(self._addresses):
            if number == 0:
                for name, part in zip(("address", "city", "state", "zip", "country"), parts, strict=True):
                    if part:
                        self._values.setdefault(name, []).append((preference, part))
            else:
                self._values.setdefault("other_addresses", []).append((preference, _in_one_line(*parts)))
        self._addresses.clear()

    def _read_tags(self, head: Head, value: str) -> None:
        for tag in split_value(value, ","):
            self._put("tags", head, self._text(tag))

    def _read_revision(self, head: Head, value: str) -> None:
        self._put("modified_at", head, _extended_time(self._text(value)))

    def _read_day(self, head: Head, value: str) -> None:
        self._put(head.name.lower(), head, _extended_time(self._text(value)))

    def _read_kind(self, head: Head, value: str) -> None:
        if value.strip().lower() in _GROUPS:
            self.find_fault(row_fault("group_card"))
        else:
            self._put("kind", head, self._text(value))

    def _read_label(self, head: Head, value: str) -> None:
        label = self._text(value)
        match = _LABEL.fullmatch(label)
        self._labels[head.group] = match[1] if match else label

    def _read_labelled(self, head: Head, value: str) -> None:
        name = "date" if head.name == "X-ABDATE" else "related"
        self._labelled.append((name, head, self._text(value)))

    def _read_agent(self, head: Head, value: str) -> None:
        agent = self._text(value)
        match = _FULL_NAME.search(agent)
        self._put("agent", head, match[1].strip() if match else agent)


_READERS: Mapping[str, Callable[[Card, Head, str], None]] = {
    "VERSION": Card._read_version,
    "N": Card._read_name,
    "FN": Card._read_full_name,
    "EMAIL": Card._read_email,
    "TEL": Card._read_phone,
    "ORG": Card._read_company,
    "ADR": Card._read_address,
    "CATEGORIES": Card._read_tags,
    "REV": Card._read_revision,
    "BDAY": Card._read_day,
    "ANNIVERSARY": Card._read_day,
    "X-ANNIVERSARY": Card._read_day,
    "X-MS-ANNIVERSARY": Card._read_day,
    "KIND": Card._read_kind,
    "X-ADDRESSBOOKSERVER-KIND": Card._read_kind,
    "X-ABLABEL": Card._read_label,
    "X-ABDATE": Card._read_labelled,
    "X-ABRELATEDNAMES": Card._read_labelled,
    "AGENT": Card._read_agent,
}


def _joined(values: list[tuple[int, str]]) -> str:
    """The values in the order of their preference, each once."""
    if len(values) == 1:
        return values[0][1]
    values.sort(key=lambda value: value[0])
    return VALUE_SEPARATOR.join(dict.fromkeys(text for _, text in values))


def _in_one_line(*parts: str) -> str:
    return ", ".join(filter(None, (part.strip(" ,") for part in parts)))


def _extended_time(text: str) -> str:
    """A date or time with its separators (ISO 8601's extended format), which everyone reads."""
    match = _BASIC_TIME.fullmatch(text)
    if match is None:
        return text
    day = "-".join(match.group(1, 2, 3))
    return f"{day}T{match[4]}:{match[5]}:{match[6] or '00'}{match[7] or ''}" if match[4] else day
