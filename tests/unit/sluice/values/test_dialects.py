"""Dialects: known exports are recognised by their headers as a whole, and know what their columns mean."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.values.aliases import aliases
from sluice.values.dialects import DIALECTS, recognise
from sluice.values.headers import SOURCE_FIELDS, header_key

CORPUS = Path(os.environ.get("SLUICE_CORPORA", "")) / "contacts-csv"

# The vendors' headers, as far as contacts are concerned, and what each field's columns are to be.
EXPORTS: dict[str, tuple[str, dict[str, str]]] = {
    "google": (
        (
            "Name,Given Name,Additional Name,Family Name,Birthday,Notes,Group Membership,E-mail 1 - Type,"
            "E-mail 1 - Value,E-mail 2 - Type,E-mail 2 - Value,Phone 1 - Type,Phone 1 - Value,Phone 2 - Type,"
            "Phone 2 - Value,Address 1 - Formatted,Address 1 - Street,Address 1 - City,Address 1 - Region,"
            "Address 1 - Postal Code,Address 1 - Country,Organization 1 - Name,Organization 1 - Title"
        ),
        {
            "email": "E-mail 1 - Value,E-mail 2 - Value",
            "phone": "Phone 1 - Value,Phone 2 - Value",
            "address": "Address 1 - Street",
            "company": "Organization 1 - Name",
            "tags": "Group Membership",
        },
    ),
    "google_2024": (
        (
            "First Name,Middle Name,Last Name,Phonetic First Name,Phonetic Middle Name,Phonetic Last Name,"
            "Name Prefix,Name Suffix,Nickname,File As,Organization Name,Organization Title,"
            "Organization Department,Birthday,Notes,Photo,Labels,E-mail 1 - Label,E-mail 1 - Value,"
            "E-mail 2 - Label,E-mail 2 - Value,Phone 1 - Label,Phone 1 - Value,Address 1 - Label,"
            "Address 1 - Formatted,Address 1 - Street,Address 1 - City,Address 1 - PO Box,Address 1 - Region,"
            "Address 1 - Postal Code,Address 1 - Country,Address 1 - Extended Address,Website 1 - Value"
        ),
        {
            "first_name": "First Name",
            "email": "E-mail 1 - Value,E-mail 2 - Value",
            "phone": "Phone 1 - Value",
            "title": "Organization Title",
            "tags": "Labels",
            "zip": "Address 1 - Postal Code",
        },
    ),
    "outlook": (
        (
            "First Name,Middle Name,Last Name,Title,Suffix,Nickname,E-mail Address,E-mail 2 Address,"
            "E-mail 3 Address,Home Phone,Home Phone 2,Business Phone,Business Fax,Mobile Phone,Car Phone,"
            "Other Phone,Pager,Company Main Phone,Home Street,Home City,Job Title,Company,Categories,Notes"
        ),
        {
            "email": "E-mail Address,E-mail 2 Address,E-mail 3 Address",
            "phone": "Mobile Phone,Business Phone,Home Phone,Home Phone 2,Other Phone",
            "title": "Job Title",
            "tags": "Categories",
        },
    ),
    "linkedin": (
        "First Name,Last Name,URL,Email Address,Company,Position,Connected On",
        {"first_name": "First Name", "email": "Email Address", "title": "Position"},
    ),
    "mailchimp": (
        (
            "Email Address,First Name,Last Name,Address,Phone Number,Birthday,MEMBER_RATING,OPTIN_TIME,"
            "OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LATITUDE,LONGITUDE,GMTOFF,DSTOFF,TIMEZONE,CC,REGION,LAST_CHANGED,LEID,EUID,"
            "NOTES,TAGS"
        ),
        {"email": "Email Address", "modified_at": "LAST_CHANGED", "tags": "TAGS", "address": "Address"},
    ),
    "salesforce": (
        (
            "Salutation,First Name,Last Name,Title,Account Name,Mailing Street,Mailing City,"
            "Mailing State/Province,Mailing Zip/Postal Code,Mailing Country,Phone,Fax,Mobile,Email,"
            "Account Owner"
        ),
        {"company": "Account Name", "phone": "Phone,Mobile", "title": "Title", "email": "Email"},
    ),
    "hubspot": (
        (
            "Record ID,First Name,Last Name,Email,Phone Number,Mobile Phone Number,Contact owner,Lead Status,"
            "Create Date,Associated Company,Last Activity Date"
        ),
        {
            "provider_id": "Record ID",
            "phone": "Phone Number,Mobile Phone Number",
            "company": "Associated Company",
            "last_contact_date": "Last Activity Date",
        },
    ),
    "ldap": (
        (
            "dn,objectClass,cn,sn,givenName,mail,telephoneNumber,mobile,facsimileTelephoneNumber,o,ou,title,"
            "personalTitle,street,l,st,postalCode,c,description"
        ),
        {
            "full_name": "cn",
            "last_name": "sn",
            "email": "mail",
            "phone": "mobile,telephoneNumber",
            "company": "o",
            "city": "l",
            "state": "st",
            "country": "c",
        },
    ),
    "vcard": (
        (
            "VERSION,N,FN,ORG,TITLE,TEL;TYPE=CELL,TEL;TYPE=FAX,TEL;TYPE=HOME,EMAIL;TYPE=INTERNET,EMAIL,NOTE,"
            "CATEGORIES,REV,UID"
        ),
        {
            "full_name": "FN",
            "phone": "TEL;TYPE=CELL,TEL;TYPE=HOME",
            "email": "EMAIL;TYPE=INTERNET,EMAIL",
            "provider_id": "UID",
        },
    ),
}


@pytest.mark.requirement("K-10")
@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_an_export_is_recognised_and_says_what_its_columns_are(name: str) -> None:
    """The dialect is known by its header, names the columns of each field, and takes no fax for a phone."""
    header, expected = EXPORTS[name]
    columns = header.split(",")
    dialect = recognise(columns)
    assert dialect is not None
    assert dialect.name == name
    found = {
        field: ",".join(columns[index] for index in at) for field, at in dialect.mapping(columns).items()
    }
    assert found.items() >= expected.items()


def test_every_dialect_is_shown_by_an_example() -> None:
    """None of them goes untested, and each knows only fields that exist."""
    assert {dialect.name for dialect in DIALECTS} == set(EXPORTS)
    assert all(set(dialect.fields) <= SOURCE_FIELDS for dialect in DIALECTS)


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_the_order_and_spelling_of_an_export_do_not_matter(name: str) -> None:
    """A spreadsheet may have moved its columns, and a script written them in lower case."""
    columns = [column.lower() for column in reversed(EXPORTS[name][0].split(","))]
    dialect = recognise(columns)
    assert dialect is not None
    assert dialect.name == name


@pytest.mark.parametrize(
    "header",
    ["", "email", "First Name,Last Name,Email,Phone", "Name,E-mail Address,Mobile Phone", "Vorname,Nachname"],
)
def test_a_plain_list_is_nobodys_export(header: str) -> None:
    """The usual columns alone prove nothing: their aliases are enough for them."""
    assert recognise(header.split(",")) is None


def test_what_a_dialect_calls_custom_is_no_field() -> None:
    """Outlook's Title is Mr or Ms, and Mailchimp's region is where a computer stood."""
    outlook = recognise(EXPORTS["outlook"][0].split(","))
    mailchimp = recognise(EXPORTS["mailchimp"][0].split(","))
    assert outlook is not None
    assert mailchimp is not None
    assert outlook.is_custom("Title")
    assert not outlook.is_custom("Job Title")
    assert mailchimp.is_custom("REGION")


@pytest.mark.requirement("K-10")
@pytest.mark.skipif(not CORPUS.is_dir(), reason="SLUICE_CORPORA names no directory with the contact corpora")
@pytest.mark.parametrize(
    ("file", "name"), [("google/google_contacts.csv", "google"), ("outlook/outlook.csv", "outlook")]
)
def test_the_corpus_is_recognised(file: str, name: str) -> None:
    """The exports that others published are known for what they are."""
    with (CORPUS / file).open(newline="") as source:
        dialect = recognise(next(csv.reader(source)))
    assert dialect is not None
    assert dialect.name == name


def test_no_alias_names_two_fields() -> None:
    """Which of two fields it meant would hang on the order of a table."""
    fields: dict[str, set[str]] = {}
    for field, headers in aliases().items():
        for header in headers:
            assert header_key(header), f"{header!r} has nothing to compare"
            fields.setdefault(header_key(header), set()).add(field)
    assert {key: found for key, found in fields.items() if len(found) > 1} == {}


@given(st.lists(st.text(max_size=20), max_size=30))
def test_any_header_has_an_answer(columns: list[str]) -> None:
    """Whatever a file calls its columns, nobody stumbles, and a mapping names columns that exist."""
    dialect = recognise(columns)
    if dialect is not None:
        held = [index for at in dialect.mapping(columns).values() for index in at]
        assert sorted(set(held)) == sorted(held)
        assert all(0 <= index < len(columns) for index in held)
