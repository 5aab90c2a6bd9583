"""Headers: usual columns are found without help, a given mapping is followed to the letter."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from sluice.errors import MappingInvalid
from sluice.values.headers import SOURCE_FIELDS, canonical_field, map_columns, split_name

CORPUS = Path(os.environ.get("SLUICE_CORPORA", "")) / "contacts-csv"


def mapped(columns: list[str]) -> dict[str, str]:
    """Field to the header of the column that holds it."""
    plan = map_columns(columns)
    return {field: columns[index] for index, field in enumerate(plan.fields) if field}


@pytest.mark.requirement("K-10", "S0-016")
@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("first_name", "first_name"),
        ("firstName", "first_name"),
        ("FIRST-NAME", "first_name"),
        (" First  Name ", "first_name"),
        ("\ufeffEmail", "email"),
        ("E-mail 1 - Value", "email"),
        ("phone_number", "phone"),
        ("Phone 3 - Value", "phone"),
        ("Mobile Phone", "phone"),
        ("zip", "zip"),
        ("zipCode", "zip"),
        ("postal code", "zip"),
        ("MailingPostalCode", "zip"),
        ("Country/Region", "country"),
        ("State/Region", "state"),
        ("Straße", "address"),
        ("STRASSE", "address"),
        ("Téléphone", "phone"),
        ("Correo electrónico", "email"),
        ("Sobrenome", "last_name"),
        ("hs_object_id", "provider_id"),
        ("LastModifiedDate", "modified_at"),
        ("Notes Last Contacted", "last_contact_date"),
        ("Group Membership", "tags"),
        ("Name", "full_name"),
        ("E-mail 1 - Type", None),
        ("Phone 1 - Label", None),
        ("Favourite colour", None),
        ("status", None),
        ("ID", None),
        ("", None),
        ("---", None),
        ("email" * 100_000, None),
    ],
)
def test_a_header_names_its_field_in_any_spelling(header: str, field: str | None) -> None:
    """Case, accents, blanks and punctuation make no difference; an unusual header names nothing."""
    assert canonical_field(header) == field


@pytest.mark.parametrize("field", sorted(SOURCE_FIELDS))
def test_every_field_is_found_under_its_own_name(field: str) -> None:
    """A file that uses our names needs no mapping."""
    assert canonical_field(field) == field


# Each column of an export, with the field that it is to hold.
EXPORTS = {
    "google": """
        First Name = first_name, Middle Name, Last Name = last_name, File As = full_name,
        Organization Name = company, Organization Title = title, Birthday, Notes = notes, Photo,
        Labels = tags, E-mail 1 - Label, E-mail 1 - Value = email, E-mail 2 - Label, E-mail 2 -
        Value, Phone 1 - Label, Phone 1 - Value = phone, Address 1 - Formatted, Address 1 - Street =
        address, Address 1 - City = city, Address 1 - Region = state, Address 1 - Postal Code = zip,
        Address 1 - Country = country
    """,
    "outlook": """
        Title, First Name = first_name, Last Name = last_name, Company = company, Job Title = title,
        Home Street, Home City, Business Street = address, Business City = city, Business State =
        state, Business Postal Code = zip, Business Country/Region = country, Home Phone, Business
        Phone, Mobile Phone = phone, Categories = tags, E-mail 2 Address, E-mail Address = email,
        Notes = notes
    """,
    "hubspot": """
        Record ID = provider_id, First Name = first_name, Last Name = last_name, Email = email,
        Phone Number = phone, Mobile Phone Number, Company Name = company, Job Title = title, Street
        Address = address, City = city, State/Region = state, Postal Code = zip, Country/Region =
        country, Last Modified Date = modified_at, Last Contacted = last_contact_date, Original
        Source = source
    """,
    "salesforce": """
        Salutation, FirstName = first_name, LastName = last_name, Title = title, AccountName =
        company, Email = email, HomePhone, MobilePhone = phone, MailingStreet = address, MailingCity
        = city, MailingState = state, MailingPostalCode = zip, MailingCountry = country, OtherCity,
        LeadSource = source, LastModifiedDate = modified_at
    """,
    "mailchimp": """
        Email Address = email, First Name = first_name, Last Name = last_name, Address = address,
        Phone Number = phone, MEMBER_RATING, LAST_CHANGED = modified_at, NOTES = notes, TAGS = tags
    """,
    "german": """
        Vorname = first_name, Name = last_name, Firma = company, Straße = address, PLZ = zip, Ort =
        city, Land = country, Telefon, Handy = phone, E-Mail = email, Bemerkung = notes
    """,
    "french": """
        Prénom = first_name, Nom = last_name, Société = company, Adresse = address, Code postal =
        zip, Ville = city, Pays = country, Téléphone = phone, Courriel = email
    """,
    "spanish": """
        Nombre = first_name, Apellidos = last_name, Empresa = company, Dirección = address, Código
        postal = zip, Ciudad = city, País = country, Teléfono = phone, Correo electrónico = email
    """,
    "portuguese": """
        Nome = first_name, Sobrenome = last_name, Empresa = company, Cargo = title, Endereço =
        address, Cidade = city, Estado = state, CEP = zip, País = country, Celular = phone, E-mail =
        email
    """,
    "italian": """
        Nome = first_name, Cognome = last_name, Azienda = company, Indirizzo = address, CAP = zip, Città =
        city, Provincia = state, Paese = country, Cellulare = phone, Indirizzo e-mail = email, Note = notes
    """,
    "dutch": """
        Voornaam = first_name, Achternaam = last_name, Bedrijf = company, Functie = title, Straat =
        address, Postcode = zip, Woonplaats = city, Land = country, Mobiele telefoon = phone, E-mailadres =
        email, Opmerkingen = notes
    """,
    "polish": """
        Imię = first_name, Nazwisko = last_name, Firma = company, Stanowisko = title, Ulica = address, Kod
        pocztowy = zip, Miejscowość = city, Województwo = state, Kraj = country, Telefon komórkowy = phone,
        Adres e-mail = email, Uwagi = notes
    """,
    "turkish": """
        Ad = first_name, SOYADI = last_name, Şirket = company, Unvan = title, Adres = address, Posta kodu =
        zip, Şehir = city, Ülke = country, Cep telefonu = phone, E-posta adresi = email, Notlar = notes
    """,
    "swedish": """
        Förnamn = first_name, Efternamn = last_name, Företag = company, Gatuadress = address, Postnummer =
        zip, Ort = city, Land = country, Mobilnummer = phone, E-post = email, Anteckningar = notes
    """,
    "czech": """
        Jméno = first_name, Příjmení = last_name, Společnost = company, Ulice = address, PSČ = zip, Město =
        city, Země = country, Telefon = phone, E-mail = email, Poznámka = notes
    """,
    "russian": """
        Имя = first_name, Фамилия = last_name, Компания = company, Должность = title, Адрес = address,
        Индекс = zip, Город = city, Страна = country, Мобильный телефон = phone, Электронная почта = email
    """,
    "chinese": """
        姓 = last_name, 名 = first_name, 公司 = company, 职位 = title, 地址 = address, 邮编 = zip, 城市 =
        city, 国家 = country, 手机 = phone, 电子邮箱 = email, 备注 = notes
    """,
    "japanese": """
        氏名 = full_name, 会社名 = company, 役職 = title, 住所 = address, 郵便番号 = zip, 携帯電話 = phone,
        メールアドレス = email
    """,
    "outlook_german": """
        Anrede, Vorname = first_name, Nachname = last_name, Firma = company, Position = title, Straße
        geschäftlich = address, Ort geschäftlich = city, Postleitzahl geschäftlich = zip, Land/Region
        geschäftlich = country, Telefon geschäftlich, Mobiltelefon = phone, Fax geschäftlich, E-Mail-Adresse
        = email, Kategorien = tags, Notizen = notes
    """,
    "outlook_french": """
        Prénom = first_name, Nom = last_name, Société = company, Rue (bureau) = address, Ville (bureau) =
        city, Code postal (bureau) = zip, Pays/Région (bureau) = country, Télécopie (bureau), Téléphone
        (bureau), Tél. mobile = phone, Adresse de messagerie = email, Catégories = tags, Notes = notes
    """,
}


@pytest.mark.requirement("K-10")
@pytest.mark.parametrize("export", sorted(EXPORTS))
def test_the_usual_exports_map_themselves(export: str) -> None:
    """Each well-known export, and a plain list in other languages, maps without help, best column first."""
    pairs = [column.split(" = ") for column in " ".join(EXPORTS[export].split()).split(", ")]
    plan = map_columns([header for header, *_ in pairs])
    assert plan.fields == tuple(field[0] if field else None for _, *field in pairs)


@pytest.mark.requirement("K-10")
@pytest.mark.skipif(not CORPUS.is_dir(), reason="SLUICE_CORPORA names no directory with the contact corpora")
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "google/google_contacts.csv",
            {"email": "E-mail 1 - Value", "full_name": "Name", "first_name": "Given Name"},
        ),
        ("outlook/outlook.csv", {"email": "E-mail Address", "phone": "Mobile Phone", "company": "Company"}),
    ],
)
def test_the_corpus_headers_map_themselves(file: str, expected: dict[str, str]) -> None:
    """The exports that others published are mapped, and every other column is kept."""
    with (CORPUS / file).open(newline="") as source:
        columns = next(csv.reader(source))
    assert mapped(columns).items() >= expected.items()
    plan = map_columns(columns)
    assert len(plan.unmapped) + len(mapped(columns)) == len(columns)


def test_one_field_takes_one_column_and_the_others_stay_custom() -> None:
    """The preferred column wins wherever it stands, the left one among equals, and nothing is lost."""
    plan = map_columns(["Home Phone", "Mobile Phone", "Colour", "Email", "email"])
    assert plan.fields == (None, "phone", None, "email", None)
    assert plan.unmapped == (0, 2, 4)


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        (["Name", "Email"], ("full_name", "email")),
        (["Name", "Vorname"], ("last_name", "first_name")),
        (["Nombre", "Apellido"], ("first_name", "last_name")),
        (["Name", "First Name", "Last Name"], ("full_name", "first_name", "last_name")),
        (["Full Name", "First Name"], ("full_name", "first_name")),
    ],
)
def test_a_bare_name_is_what_the_other_columns_leave_open(
    columns: list[str], fields: tuple[str, ...]
) -> None:
    """ "Name" beside a first name is the last name; alone, or beside both, it is the full name."""
    assert map_columns(columns).fields == fields


@pytest.mark.requirement("K-10")
def test_a_given_mapping_replaces_the_aliases() -> None:
    """Only named columns are mapped, null and empty leave a column out, the rest is kept as custom fields."""
    columns = ["Email", "Kontakt", "PLZ", "Internal", "Secret"]
    plan = map_columns(columns, {" Kontakt ": "email", "PLZ": "zipCode", "Internal": "", "Secret": None})
    assert plan.fields == (None, "email", "zip", None, None)
    assert plan.unmapped == (0,)


@pytest.mark.requirement("K-10", "S0-017")
@pytest.mark.parametrize(
    ("explicit", "named"),
    [
        ({"Mail": "email"}, '"Mail"'),
        ({"Email": "e_mail_adress"}, '"e_mail_adress"'),
        ({"Email": "status"}, '"status"'),
        ({"Email": "email", "Other": "email"}, '"Email" and "Other"'),
    ],
)
def test_a_wrong_mapping_is_refused_by_name(explicit: dict[str, str | None], named: str) -> None:
    """An unknown column, an unknown field and a field given twice are named in the refusal."""
    with pytest.raises(MappingInvalid, match=named):
        map_columns(["Email", "Other"], explicit)


@pytest.mark.parametrize(
    ("full_name", "parts"),
    [
        ("Ann Lee", ("Ann", "Lee")),
        ("  Ann   Mary  Lee ", ("Ann Mary", "Lee")),
        ("Lee, Ann Mary", ("Ann Mary", "Lee")),
        ("Ludwig Mies van der Rohe", ("Ludwig Mies", "van der Rohe")),
        ("van Dyk, Ann", ("Ann", "van Dyk")),
        ("Cher", ("Cher", "")),
        ("de la Cruz", ("de", "la Cruz")),
        (", Ann", ("Ann", "")),
        ("", ("", "")),
        (" , ", ("", "")),
    ],
)
def test_a_full_name_is_split(full_name: str, parts: tuple[str, str]) -> None:
    """The last word and its particles are the last name, and a comma turns the order round."""
    assert split_name(full_name) == parts
