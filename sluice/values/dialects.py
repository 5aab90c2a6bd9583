"""Known exports, recognised by their headers as a whole.

A dialect says of its own columns what a header alone cannot: that Outlook's "Title" is Mr or Ms, that
Mailchimp's "Region" is where an address on the internet was, and that "E-mail 2 - Value" is a further value
of what "E-mail 1 - Value" holds. Columns that a dialect does not speak of, such as those a user of a CRM has
added, go by the usual aliases.

The headers are those of the vendors' exports in English; every dialect of a CRM knows the labels of its user
interface and the property names of its API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sluice.values.headers import header_key

_FAX = ("fax", "pager", "telex")
"""A number that no person answers is never taken for a phone."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One program's export. All headers here are keys (`header_key`).

    It is recognised where of each group in `needs` one header is there. `fields` are headers best first;
    `email` and `phone` take all of them, the later ones as further values, any other field takes the first
    that is there. `customs` are headers that hold no contact field, whatever the aliases say. `parameters`:
    what follows a semicolon in a header says more about the value and is not compared (`TEL;TYPE=CELL`).
    """

    name: str
    title: str
    needs: tuple[frozenset[str], ...]
    fields: Mapping[str, tuple[str, ...]]
    customs: frozenset[str] = field(default_factory=frozenset)
    parameters: bool = False

    def keys(self, columns: Sequence[str]) -> list[str]:
        """What this dialect compares of each column's header."""
        return [header_key(column.partition(";")[0] if self.parameters else column) for column in columns]

    def speaks(self, columns: Sequence[str]) -> bool:
        """Whether the columns are this program's."""
        keys = set(self.keys(columns))
        return all(group & keys for group in self.needs)

    def mapping(self, columns: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Field to the columns that hold it, best first; more than one only where all are its values."""
        at: dict[str, list[int]] = {}
        for index, key in enumerate(self.keys(columns)):
            at.setdefault(key, []).append(index)
        found: dict[str, tuple[int, ...]] = {}
        for name, headers in self.fields.items():
            held = [index for header in headers for index in at.get(header, ())]
            if name == "phone":
                held = [index for index in held if not any(fax in header_key(columns[index]) for fax in _FAX)]
            if held:
                found[name] = tuple(held) if name in ("email", "phone") else (held[0],)
        return found

    def is_custom(self, column: str) -> bool:
        """Whether the dialect says of a column that it holds no contact field."""
        return self.keys([column])[0] in self.customs


def recognise(columns: Sequence[str]) -> Dialect | None:
    """The program that wrote a file with these columns, None for any other."""
    return next((dialect for dialect in DIALECTS if dialect.speaks(columns)), None)


def _keys(headers: str) -> tuple[str, ...]:
    """Keys of headers between bars; `<n>` stands for 1 to 9."""
    names = [name for header in headers.split("|") for name in _numbered(header)]
    return tuple(header_key(name) for name in names)


def _numbered(header: str) -> list[str]:
    return [header.replace("<n>", str(n)) for n in range(1, 10)] if "<n>" in header else [header]


def _dialect(
    name: str,
    title: str,
    *,
    needs: Sequence[str],
    fields: Mapping[str, str],
    customs: str = "",
    parameters: bool = False,
) -> Dialect:
    return Dialect(
        name=name,
        title=title,
        needs=tuple(frozenset(_keys(group)) for group in needs),
        fields={to: _keys(headers) for to, headers in fields.items()},
        customs=frozenset(_keys(customs)) - {""},
        parameters=parameters,
    )


_GOOGLE_VALUES = {
    "email": "E-mail <n> - Value",
    "phone": "Phone <n> - Value",
    "address": "Address 1 - Street|Address 1 - Formatted",
    "city": "Address 1 - City",
    "state": "Address 1 - Region",
    "zip": "Address 1 - Postal Code",
    "country": "Address 1 - Country",
    "notes": "Notes",
}

DIALECTS: tuple[Dialect, ...] = (
    _dialect(
        "google",
        "Google Contacts",
        needs=("Given Name", "Family Name", "Group Membership|E-mail 1 - Value|Phone 1 - Value"),
        fields=_GOOGLE_VALUES
        | {
            "first_name": "Given Name",
            "last_name": "Family Name",
            "full_name": "Name",
            "company": "Organization 1 - Name",
            "title": "Organization 1 - Title",
            "tags": "Group Membership",
        },
        customs="Location|Occupation|Subject",
    ),
    _dialect(
        "google_2024",
        "Google Contacts",
        needs=("First Name", "Labels", "E-mail 1 - Value|Phone 1 - Value|Phonetic First Name"),
        fields=_GOOGLE_VALUES
        | {
            "first_name": "First Name",
            "last_name": "Last Name",
            "full_name": "File As",
            "company": "Organization Name",
            "title": "Organization Title",
            "tags": "Labels",
        },
    ),
    _dialect(
        "outlook",
        "Outlook",
        needs=("E-mail Address", "E-mail 2 Address", "Business Phone|Home Phone|Mobile Phone"),
        fields={
            "first_name": "First Name",
            "last_name": "Last Name",
            "full_name": "Name",
            "email": "E-mail Address|E-mail 2 Address|E-mail 3 Address",
            # A company's main number is many people's: it would make one contact of them.
            "phone": "Mobile Phone|Primary Phone|Business Phone|Business Phone 2|Home Phone|Home Phone 2"
            "|Other Phone",
            "company": "Company",
            "title": "Job Title",
            "tags": "Categories",
            "notes": "Notes",
        },
        customs="Title|Company Main Phone|Location|Keywords|Account",
    ),
    _dialect(
        "linkedin",
        "LinkedIn",
        needs=("First Name", "Last Name", "Connected On"),
        fields={
            "first_name": "First Name",
            "last_name": "Last Name",
            "email": "Email Address",
            "company": "Company",
            "title": "Position",
        },
    ),
    _dialect(
        "mailchimp",
        "Mailchimp",
        needs=("MEMBER_RATING", "LEID|EUID"),
        fields={
            "email": "Email Address",
            "first_name": "First Name",
            "last_name": "Last Name",
            "phone": "Phone Number|Phone",
            "address": "Address",
            "modified_at": "LAST_CHANGED",
            "notes": "NOTES",
            "tags": "TAGS",
        },
        # Where the subscriber's address on the internet was when he signed up.
        customs="CC|REGION|LATITUDE|LONGITUDE|TIMEZONE",
    ),
    _dialect(
        "salesforce",
        "Salesforce",
        needs=(
            "Account Name|Account ID",
            "Mailing Street|Mailing City|Mailing Country|Account Owner|Contact Owner|Contact ID",
        ),
        fields={
            "first_name": "First Name",
            "last_name": "Last Name",
            "full_name": "Full Name|Name",
            "email": "Email",
            "phone": "Phone|Mobile|Mobile Phone|Business Phone|Home Phone|Other Phone",
            "company": "Account Name",
            "title": "Title",
            "notes": "Description",
            "source": "Lead Source",
            "last_contact_date": "Last Activity|Last Activity Date",
            "modified_at": "Last Modified Date|System Modstamp",
            "provider_id": "Contact ID|ID",
        },
        customs="Account Phone|Assistant Phone|Company|Department",
    ),
    _dialect(
        "hubspot",
        "HubSpot",
        needs=(
            "Record ID|Record ID - Contact|hs_object_id",
            "Contact owner|Lead Status|Lifecycle Stage|Marketing contact status|Create Date|Original Source",
        ),
        fields={
            "provider_id": "Record ID|Record ID - Contact|hs_object_id",
            "first_name": "First Name",
            "last_name": "Last Name",
            "email": "Email|Work email",
            "phone": "Phone Number|Phone|Mobile Phone Number|mobilephone",
            "company": "Company Name|Company|Associated Company|Primary Company",
            "title": "Job Title",
            "source": "Original Source|Original Traffic Source|hs_analytics_source",
            "last_contact_date": "Last Contacted|notes_last_contacted|Last Activity Date",
            "modified_at": "Last Modified Date|lastmodifieddate",
        },
        customs="Contact owner|Lead Status",
    ),
    _dialect(
        "ldap",
        "LDAP",
        needs=("dn|objectClass|cn", "mail|sn|givenName|telephoneNumber"),
        fields={
            "first_name": "givenName|gn",
            "last_name": "sn|surname",
            "full_name": "displayName|cn|commonName",
            "email": "mail|rfc822Mailbox",
            "phone": "mobile|mobileTelephoneNumber|telephoneNumber|homePhone|homeTelephoneNumber",
            "company": "o|organizationName|company",
            "title": "title",
            "address": "street|streetAddress|postalAddress",
            "city": "l|localityName",
            "state": "st|stateOrProvinceName",
            "zip": "postalCode",
            "country": "co|friendlyCountryName|c|countryName",
            "notes": "description|info",
            "modified_at": "modifyTimestamp|whenChanged",
        },
    ),
    _dialect(
        "vcard",
        "vCard fields (iCloud and others)",
        needs=("FN|N", "TEL|EMAIL|ORG|VERSION|UID"),
        fields={
            "full_name": "FN",
            "first_name": "Given|First Name",
            "last_name": "Family|Last Name",
            "email": "EMAIL",
            "phone": "TEL",
            "company": "ORG",
            "title": "TITLE|ROLE",
            "address": "ADR",
            "notes": "NOTE",
            "tags": "CATEGORIES",
            "modified_at": "REV",
            "provider_id": "UID",
        },
        parameters=True,
    ),
)
"""In the order of the asking: each comes before what asks for less."""
