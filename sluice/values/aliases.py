"""The usual headers of contact columns, as data for `sluice.values.headers`.

They are the plain words of address lists in some twenty languages, the export headers of address books in
them (Outlook translates its own), and the property names of LDAP, vCard and the usual CRMs. What only makes
sense beside other columns (LDAP's `l`, vCard's `N`) stands with its dialect in `sluice.values.dialects`.
"""

from __future__ import annotations

from collections.abc import Iterator

_PLACES = ("", "primary ", "mailing ", "business ", "work ", "company ", "home ", "other ")

# A field, then its headers, best first. `<n>` is one of 1 to 9. `<place>` stands for every kind of address in
# turn, and what bars separate is tried at one place before the next. An indented line goes on with the last.
# Outlook's own "Title" is Mr or Ms, so "Job Title" comes before it.
_TABLE = """\
first_name: first name; given name; forename; fname; first; christian name; Vorname; Rufname; Prénom;
    Primer nombre; Nombres; Nombre de pila; Primeiro nome; Nome próprio; Nome di battesimo; Voornaam;
    Roepnaam; Imię; Adı; Förnamn; Fornavn; Etunimi; Křestní jméno; Krstné meno; Keresztnév; Prenume;
    Имя; Ім'я; Όνομα; Ονομα; 名; 이름; الاسم الأول; שם פרטי; contact first name; lead first name; customer
    first name
last_name: last name; family name; surname; lname; last; Nachname; Familienname; Zuname; Nom de famille;
    Apellido; Apellidos; Primer apellido; Sobrenome; Apelido; Último nome; Cognome; Achternaam;
    Familienaam; Nazwisko; Soyad; Soyadı; Soyisim; Efternamn; Efternavn; Etternavn; Sukunimi; Příjmení;
    Priezvisko; Vezetéknév; Nume de familie; Фамилия; Прізвище; Επώνυμο; 姓; 성; اسم العائلة; שם משפחה;
    contact last name; lead last name; customer last name
full_name: full name; name; display name; contact name; customer name; lead name; contact; common name;
    formatted name; Vollständiger Name; Anzeigename; Vor- und Nachname; Nom complet; Nom et prénom; Nom
    d'affichage; Nombre completo; Nombre y apellidos; Nome completo; Nome e cognome; Nom; Nombre; Nome;
    Naam; Volledige naam; Imię i nazwisko; Ad Soyad; Adı Soyadı; İsim Soyisim; İsim; Ad; Namn; Fullständigt
    namn; Navn; Fulde navn; Fullt navn; Nimi; Jméno; Celé jméno; Jméno a příjmení; Meno; Meno a
    priezvisko; Név; Teljes név; Nume; Nume complet; ФИО; Полное имя; ПІБ; Ονοματεπώνυμο; 氏名; 姓名; 성명;
    الاسم; الاسم الكامل; שם; שם מלא; file as
email: email; email address; primary email; email 1; mail; email id; contact email; email 1 address;
    email <n> value; work email; business email; personal email; home email; email work; email home;
    customer email; lead email; user email; rfc822 mailbox; E-Mail-Adresse; Mailadresse; Courriel;
    Adresse e-mail; Adresse mail; Adresse électronique; Adresse de messagerie; Correo; Correo
    electrónico; Dirección de correo electrónico; Endereço de e-mail; Endereço de correio eletrónico;
    Correio eletrônico; Correio eletrónico; E-mail principal; Indirizzo e-mail; Indirizzo di posta
    elettronica; Indirizzo posta elettronica; Posta elettronica; E-mailadres; Adres e-mail; Adres email;
    Poczta elektroniczna; E-posta; E-posta adresi; E-post; E-postadress; E-postadresse; Sähköposti;
    Sähköpostiosoite; E-mailová adresa; E-mail cím; Adresă de e-mail; Электронная почта; Эл. почта;
    Почта; Адрес электронной почты; Електронна пошта; Ηλεκτρονικό ταχυδρομείο; Ηλ. ταχυδρομείο;
    メールアドレス; メール; 邮箱; 电子邮件; 电子邮箱; 邮件地址; 電子郵件; 이메일; 이메일 주소; البريد
    الإلكتروني; אימייל; דוא"ל; email 2 address; email 2; email 3 address; email 3; other email;
    secondary email
phone: phone; phone number; primary phone; mobile phone; mobile; mobile number; cell phone; cell; mobile
    phone number; cell number; cellphone number; phone mobile; mobile telephone number; telephone; tel;
    telephone number; telephone 1; phone 1; contact phone; contact number; phone <n> value; Handy;
    Handynummer; Mobil; Mobiltelefon; Mobilnummer; Telefon; Telefonnummer; Rufnummer; Portable;
    Téléphone portable; Téléphone mobile; Tél. mobile; Téléphone; Tél.; Numéro de téléphone; Móvil;
    Teléfono móvil; Celular; Teléfono; Número de teléfono; Telemóvel; Telefone; Telefone celular; Número
    de telefone; Cellulare; Telefono cellulare; Numero di cellulare; Numero di telefono; Mobiel; Mobiele
    telefoon; Mobiel nummer; GSM; Telefoon; Telefoonnummer; Komórka; Telefon komórkowy; Numer telefonu;
    Nr telefonu; Cep telefonu; Telefon numarası; Telefon no; Mobilní telefon; Mobilný telefón;
    Matkapuhelin; Puhelin; Puhelinnumero; Telefonní číslo; Telefónne číslo; Telefonszám; Mobilszám;
    Telefon mobil; Мобильный телефон; Мобильный; Телефон; Номер телефона; Мобільний телефон; Номер
    телефону; Κινητό; Τηλέφωνο; 携帯電話; 携帯電話番号; 電話番号; 電話; 手机; 手机号; 手机号码; 电话;
    电话号码; 휴대전화; 휴대폰; 전화번호; 전화; الجوال; الهاتف; رقم الهاتف; נייד; טלפון; business phone;
    work phone; office phone; phone work; company main phone; main phone; Telefon geschäftlich; Telefon
    dienstlich; Téléphone (bureau); Téléphone professionnel; Teléfono del trabajo; Teléfono trabajo;
    Telefone comercial; Telefono ufficio; Telefono (uff.); Telefoon op werk; Telefoon werk; Zakelijke
    telefoon; Telefon służbowy; İş telefonu; business phone 2; home phone; phone home; Telefon privat;
    Téléphone (domicile); Téléphone domicile; Téléphone fixe; Teléfono particular; Teléfono fijo;
    Telefone residencial; Telefono abitazione; Telefono (ab.); Telefoon thuis; Telefoon privé; Telefon
    domowy; Ev telefonu; home phone 2; other phone; phone 2
company: company; company name; organization; organisation; organization name; organisation name;
    organization <n> name; org; account name; employer; business name; business; associated company;
    Firma; Firmenname; Unternehmen; Société; Entreprise; Nom de l'entreprise;
    Empresa; Compañía; Nombre de la empresa; Organización; Organização; Companhia; Nome da empresa;
    Azienda; Società; Ditta; Ragione sociale; Nome azienda; Bedrijf; Bedrijfsnaam; Organisatie; Nazwa
    firmy; Przedsiębiorstwo; Şirket; Şirket adı; Kurum; Företag; Företagsnamn; Virksomhed; Selskap;
    Bedrift; Yritys; Společnost; Spoločnosť; Cég; Cégnév; Companie; Компания; Организация; Компанія;
    Εταιρεία; 会社; 会社名; 公司; 公司名称; 单位; 회사; 회사명; الشركة; חברה
title: job title; title; position; role; job; organization title; organization <n> title; job position;
    occupation; designation; Berufsbezeichnung; Stellenbezeichnung; Funktion; Fonction; Poste; Intitulé
    du poste; Cargo; Puesto; Puesto de trabajo; Função; Posizione; Qualifica; Ruolo; Mansione; Functie;
    Functietitel; Stanowisko; Unvan; Ünvan; İş unvanı; Görev; Pozisyon; Befattning; Stilling;
    Ammattinimike; Pozice; Pozícia; Beosztás; Funcție; Должность; Посада; Θέση; 役職; 职位; 职务; 직책; 직위;
    المسمى الوظيفي; תפקיד
address: <place> street|street address|address|address line 1|address 1|street 1; address <n> street;
    street name; addr; addr 1; adr; address street; postal address; Straße; Straße und Hausnummer;
    Strasse Nr; Anschrift; Adresse; Rue; Dirección; Calle; Domicilio; Endereço; Morada; Rua; Indirizzo;
    Adres; Straat; Straat en huisnummer; Ulica; Adress; Gatuadress; Gateadresse; Postadresse; Gade;
    Katuosoite; Osoite; Ulice; Adresa; Cím; Адрес; Улица; Адреса; Вулиця; Διεύθυνση; 住所; 地址; 주소;
    العنوان; כתובת; Straße geschäftlich; Adresse geschäftlich; Rue (bureau); Calle del trabajo; Via
    (uff.); Straße privat; Adresse privat; Rue (domicile); Calle particular; Via (ab.); full address;
    address <n> formatted
city: <place> city|town; locality; locality name; address city; address <n> city; Ort; Stadt; Wohnort;
    Ville; Commune; Ciudad; Población; Localidad; Municipio; Cidade; Município; Città; Comune; Località;
    Plaats; Woonplaats; Stad; Gemeente; Miasto; Miejscowość; Şehir; İl; Postort; Poststed; Kaupunki;
    Postitoimipaikka; Město; Mesto; Város; Oraș; Localitate; Город; Місто; Πόλη; 市区町村; 城市; 도시;
    المدينة; עיר; Ort geschäftlich; Ville (bureau); Ciudad de trabajo; Città (uff.); Ort privat; Ville
    (domicile); Ciudad particular; Città (ab.)
state: <place> state|state/province|state/region|province|region; county; state code; state or province
    name; address state; address <n> region; Bundesland; Kanton; Région; Département; Estado; Provincia;
    Comunidad autónoma; UF; Distrito; Regione; Provincie; Województwo; Län; Fylke; Megye;
    Județ; Область; Регион; Регіон; Νομός; 都道府県; 省份; 省; Bundesland geschäftlich; Region geschäftlich;
    Dép/Région (bureau); Provincia o estado de trabajo; Provincia (uff.)
zip: <place> zip|zip code|postal code|zip/postal code|postcode|post code|zip postal; address zip;
    address postal code; address <n> postal code; PLZ; Postleitzahl; Code postal; CP; Código postal;
    CEP; CAP; Codice postale; Kod pocztowy; Posta kodu; Postnummer; Postnr; Postinumero; PSČ;
    Irányítószám; Cod poștal; Индекс; Почтовый индекс; Поштовий індекс; Ταχυδρομικός κώδικας; 郵便番号;
    邮编; 邮政编码; 우편번호; الرمز البريدي; מיקוד; Postleitzahl geschäftlich; PLZ geschäftlich; Code
    postal (bureau); Código postal del trabajo; CAP (uff.); Postleitzahl privat; Code postal (domicile)
country: <place> country|country/region|country code|country name; address country; address <n> country;
    friendly country name; nation; Land; Staat; Pays; País; Paese; Nazione; Kraj; Ülke; Maa; Země; Štát;
    Krajina; Ország; Țară; Страна; Країна; Χώρα; 国; 国家; 국가; الدولة; البلد; ארץ; Land/Region geschäftlich;
    Pays/Région (bureau); País o región del trabajo; Land/Region privat
tags: tags; tag; labels; label; categories; category; group membership; groups; keywords; Schlagwörter;
    Schlagworte; Kategorien; Gruppen; Étiquettes; Catégories; Groupes; Etiquetas; Categorías; Grupos;
    Marcadores; Categorias; Etichette; Categorie; Gruppi; Categorieën; Trefwoorden; Groepen; Etykiety;
    Kategorie; Grupy; Etiketler; Kategoriler; Gruplar; Etiketter; Kategorier; Štítky; Метки; Теги;
    Категории; Группы; Мітки; Ετικέτες; タグ; ラベル; 标签; 태그; 그룹
notes: notes; note; comments; comment; remarks; description; Notizen; Notiz; Bemerkung; Bemerkungen;
    Anmerkungen; Kommentar; Remarques; Commentaires; Notas; Comentarios; Observaciones; Observações;
    Comentários; Annotazioni; Commenti; Notities; Opmerkingen; Opmerking; Notatki; Uwagi; Notlar; Not;
    Açıklama; Anteckningar; Noter; Notater; Muistiinpanot; Poznámka; Poznámky; Megjegyzés; Observații;
    Заметки; Примечание; Примечания; Комментарий; Нотатки; Примітки; Σημειώσεις; メモ; 備考; 备注; 메모; 비고;
    ملاحظات; הערות
source: source; lead source; contact source; original source; original traffic source; Quelle; Herkunft;
    Provenance; Fuente; Origen; Origem; Fonte; Provenienza; Bron; Herkomst; Źródło; Kaynak; Källa; Zdroj;
    Источник; Джерело; 来源
last_contact_date: last contact date; last contact; last contacted; last contacted at; last activity
    date; last activity; notes last contacted; last touch; Letzter Kontakt; Dernier contact; Último
    contacto; Último contato; Fecha de último contacto; Date du dernier contact; Ultimo contatto; Laatste
    contact; Ostatni kontakt; Son iletişim; Последний контакт
modified_at: modified at; last modified; last modified date; last modified at; modified; modified date;
    date modified; updated at; updated; last updated; last update; last changed; system modstamp; modify
    timestamp; when changed; Geändert am; Zuletzt geändert; Date de modification; Fecha de modificación;
    Modificado em; Data di modifica; Gewijzigd op; Data modyfikacji
provider_id: provider id; record id; record id contact; hs object id; contact id; lead id; external id;
    crm id; resource name; entry uuid
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
