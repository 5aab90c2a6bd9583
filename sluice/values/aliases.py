"""The usual headers of contact columns, as data for `sluice.values.headers`.

They are the export headers of Google Contacts (old and new), Outlook, HubSpot, Salesforce and Mailchimp,
their property names, and the plain words of English, German, French, Spanish and Portuguese address lists.
"""

from __future__ import annotations

from collections.abc import Iterator

_PLACES = ("", "primary ", "mailing ", "business ", "work ", "company ", "home ", "other ")

# A field, then its headers, best first. `<n>` is one of 1 to 9. `<place>` stands for every kind of address in
# turn, and what bars separate is tried at one place before the next. An indented line goes on with the last.
# Outlook's own "Title" is Mr or Ms, so "Job Title" comes before it.
_TABLE = """\
first_name: first name; given name; forename; fname; first; christian name; Vorname; Rufname; Prénom;
    Primer nombre; Nombres; Nombre de pila; Primeiro nome; contact first name; lead first name; customer
    first name
last_name: last name; family name; surname; lname; last; Nachname; Familienname; Zuname; Nom de famille;
    Apellido; Apellidos; Primer apellido; Sobrenome; Apelido; Último nome; contact last name; lead last
    name; customer last name
full_name: full name; name; display name; contact name; customer name; lead name; contact; Vollständiger
    Name; Vor- und Nachname; Nom complet; Nom et prénom; Nombre completo; Nombre y apellidos; Nome
    completo; Nom; Nombre; Nome; file as
email: email; email address; primary email; email 1; mail; email id; contact email; email 1 address;
    email <n> value; work email; business email; personal email; home email; email work; email home;
    customer email; lead email; user email; E-Mail-Adresse; Mailadresse; Courriel; Adresse e-mail;
    Adresse mail; Adresse électronique; Adresse de messagerie; Correo; Correo electrónico; Dirección de
    correo electrónico; Endereço de e-mail; Correio eletrônico; Correio eletrónico; E-mail principal;
    email 2 address; email 2; email 3 address; email 3; other email; secondary email
phone: phone; phone number; primary phone; mobile phone; mobile; mobile number; cell phone; cell; mobile
    phone number; cell number; cellphone number; phone mobile; telephone; tel; telephone number;
    telephone 1; phone 1; contact phone; contact number; phone <n> value; Handy; Handynummer; Mobil;
    Mobiltelefon; Mobilnummer; Telefon; Telefonnummer; Rufnummer; Portable; Téléphone portable;
    Téléphone mobile; Téléphone; Numéro de téléphone; Móvil; Teléfono móvil; Celular; Teléfono; Número
    de teléfono; Telemóvel; Telefone; Telefone celular; Número de telefone; business phone; work phone;
    office phone; phone work; company main phone; main phone; Telefon geschäftlich; Telefon
    (geschäftlich); business phone 2; home phone; phone home; Telefon privat; Telefon (privat); home
    phone 2; other phone; phone 2
company: company; company name; organization; organisation; organization name; organisation name;
    organization <n> name; account name; employer; business name; business; associated company; Firma;
    Firmenname; Unternehmen; Société; Entreprise; Nom de l'entreprise; Empresa; Compañía; Nombre de la
    empresa; Organización; Organização; Companhia
title: job title; title; position; role; job; organization title; organization <n> title; job position;
    occupation; designation; Berufsbezeichnung; Stellenbezeichnung; Funktion; Fonction; Poste; Intitulé
    du poste; Cargo; Puesto; Puesto de trabajo; Função
address: <place> street|street address|address|address line 1|address 1|street 1; address <n> street;
    street name; addr; addr 1; address street; Straße; Straße und Hausnummer; Strasse Nr; Anschrift;
    Adresse; Rue; Dirección; Calle; Domicilio; Endereço; Morada; Rua; full address; address <n>
    formatted
city: <place> city|town; locality; address city; address <n> city; Ort; Stadt; Wohnort; Ville; Commune;
    Ciudad; Población; Localidad; Cidade
state: <place> state|state/province|state/region|province|region; county; state code; address state;
    address <n> region; Bundesland; Kanton; Région; Département; Estado; Provincia; Comunidad autónoma;
    UF; Distrito
zip: <place> zip|zip code|postal code|zip/postal code|postcode|post code|zip postal; address zip;
    address postal code; address <n> postal code; PLZ; Postleitzahl; Code postal; CP; Código postal; CEP
country: <place> country|country/region|country code|country name; address country; address <n> country;
    nation; Land; Pays; País
tags: tags; tag; labels; label; categories; category; group membership; groups; keywords; Schlagwörter;
    Schlagworte; Kategorien; Étiquettes; Catégories; Etiquetas; Categorías; Marcadores; Categorias
notes: notes; note; comments; comment; remarks; description; Notizen; Notiz; Bemerkung; Bemerkungen;
    Anmerkungen; Kommentar; Remarques; Commentaires; Notas; Comentarios; Observaciones; Observações;
    Comentários
source: source; lead source; contact source; original source; original traffic source; Quelle; Herkunft;
    Provenance; Fuente; Origen; Origem; Fonte
last_contact_date: last contact date; last contact; last contacted; last contacted at; last activity
    date; last activity; notes last contacted; last touch; Letzter Kontakt; Dernier contact; Último
    contacto; Último contato; Fecha de último contacto; Date du dernier contact
modified_at: modified at; last modified; last modified date; last modified at; modified; modified date;
    date modified; updated at; updated; last updated; last update; last changed; system modstamp;
    Geändert am; Zuletzt geändert; Date de modification; Fecha de modificación; Modificado em
provider_id: provider id; record id; record id contact; hs object id; contact id; lead id; external id;
    crm id; resource name
"""


def aliases() -> dict[str, list[str]]:
    """Each field with its headers, best first."""
    found: dict[str, list[str]] = {}
    for line in _TABLE.strip().replace("\n    ", " ").splitlines():
        field, _, headers = line.partition(":")
        found[field] = [each for header in headers.split(";") for each in _spelled_out(header.strip())]
    return found


def _spelled_out(header: str) -> Iterator[str]:
    if header.startswith("<place>"):
        names = header.removeprefix("<place> ").split("|")
        yield from (place + name for place in _PLACES for name in names)
    elif "<n>" in header:
        yield from (header.replace("<n>", str(n)) for n in range(1, 10))
    else:
        yield header
