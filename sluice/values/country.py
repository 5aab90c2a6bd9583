"""Countries: free text to ISO 3166-1 alpha-2, or nothing (K-10).

A name is compared by its letters and digits alone, without case, accents, punctuation and a leading "the",
so "u.s.a.", "The Netherlands" and "Cote d Ivoire" are found. Unknown text is no fault: the contact keeps no
country and the text goes to its custom fields. Names that are two countries' ("Korea", "Guiana") are
unknown.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# Alpha-2, alpha-3, then names: ISO's English one first, then usual aliases and some of its own
# and its neighbours' languages. XK is user-assigned and widely used. An indented line goes on with the last.
_TABLE = """\
AD AND Andorra
AE ARE United Arab Emirates; UAE; Emirates; Emiratos Árabes Unidos; Vereinigte Arabische Emirate;
    Émirats arabes unis
AF AFG Afghanistan
AG ATG Antigua and Barbuda
AI AIA Anguilla
AL ALB Albania; Albanien; Shqipëria
AM ARM Armenia
AO AGO Angola
AQ ATA Antarctica
AR ARG Argentina; Argentinien; Argentine
AS ASM American Samoa; Samoa (American)
AT AUT Austria; Österreich; Autriche; Oostenrijk
AU AUS Australia; Australien; Australie
AW ABW Aruba
AX ALA Åland Islands; Åland; Ahvenanmaa
AZ AZE Azerbaijan
BA BIH Bosnia and Herzegovina; Bosnia; Bosna i Hercegovina; Bosnien und Herzegowina; Bosnia-Herzegovina
BB BRB Barbados
BD BGD Bangladesh
BE BEL Belgium; Belgien; Belgique; België; Bélgica; Belgio
BF BFA Burkina Faso
BG BGR Bulgaria; Bulgarien; Bulgarie; България
BH BHR Bahrain
BI BDI Burundi
BJ BEN Benin
BL BLM Saint Barthélemy; St Barthelemy; St. Barts
BM BMU Bermuda
BN BRN Brunei Darussalam; Brunei
BO BOL Bolivia, Plurinational State of; Bolivia; Plurinational State of Bolivia
BQ BES Bonaire, Sint Eustatius and Saba; Caribbean Netherlands; Bonaire
BR BRA Brazil; Brasil; Brasilien; Brésil
BS BHS Bahamas
BT BTN Bhutan
BV BVT Bouvet Island
BW BWA Botswana
BY BLR Belarus; Беларусь
BZ BLZ Belize
CA CAN Canada; Kanada; Canadá
CC CCK Cocos (Keeling) Islands; Cocos Islands
CD COD Congo, The Democratic Republic of the; Democratic Republic of the Congo; DR Congo; DRC;
    Congo-Kinshasa
CF CAF Central African Republic
CG COG Congo; Republic of the Congo; Congo-Brazzaville
CH CHE Switzerland; Schweiz; Suisse; Svizzera; Svizra; Suiza; Suíça; Zwitserland
CI CIV Côte d'Ivoire; Ivory Coast
CK COK Cook Islands
CL CHL Chile; Chili
CM CMR Cameroon; Cameroun; Kamerun
CN CHN China; People's Republic of China; PRC; PR China; Mainland China; 中国; 中國; Chine
CO COL Colombia; Kolumbien; Colombie
CR CRI Costa Rica
CU CUB Cuba
CV CPV Cabo Verde; Cape Verde
CW CUW Curaçao
CX CXR Christmas Island
CY CYP Cyprus; Κύπρος; Zypern; Chypre
CZ CZE Czechia; Czech Republic; Česko; Česká republika; Tschechien; Tchéquie
DE DEU Germany; Deutschland; Allemagne; Alemania; Alemanha; Germania; Duitsland; Federal Republic of
    Germany; BRD
DJ DJI Djibouti
DK DNK Denmark; Danmark; Dänemark; Danemark; Dinamarca
DM DMA Dominica
DO DOM Dominican Republic; República Dominicana
DZ DZA Algeria; Algérie; الجزائر
EC ECU Ecuador
EE EST Estonia; Eesti; Estland
EG EGY Egypt; مصر; Ägypten; Égypte
EH ESH Western Sahara
ER ERI Eritrea
ES ESP Spain; España; Spanien; Espagne; Espanha; Spagna; Spanje
ET ETH Ethiopia
FI FIN Finland; Suomi; Finnland; Finlande
FJ FJI Fiji
FK FLK Falkland Islands (Malvinas); Falkland Islands; Islas Malvinas
FM FSM Micronesia, Federated States of; Micronesia; Federated States of Micronesia
FO FRO Faroe Islands; Føroyar
FR FRA France; Frankreich; Francia; França; Frankrijk; Frankrike
GA GAB Gabon
GB GBR United Kingdom; UK; Great Britain; Britain; England; Scotland; Wales; Northern Ireland;
    Vereinigtes Königreich; Großbritannien; Royaume-Uni; Reino Unido; Regno Unito; Verenigd Koninkrijk;
    United Kingdom of Great Britain and Northern Ireland
GD GRD Grenada
GE GEO Georgia; საქართველო
GF GUF French Guiana; Guyane
GG GGY Guernsey
GH GHA Ghana
GI GIB Gibraltar
GL GRL Greenland; Kalaallit Nunaat
GM GMB Gambia
GN GIN Guinea
GP GLP Guadeloupe
GQ GNQ Equatorial Guinea
GR GRC Greece; EL; Hellas; Ελλάδα; Griechenland; Grèce; Grecia
GS SGS South Georgia and the South Sandwich Islands; South Georgia
GT GTM Guatemala
GU GUM Guam
GW GNB Guinea-Bissau
GY GUY Guyana
HK HKG Hong Kong; Hong Kong SAR; Hong Kong SAR China; 香港
HM HMD Heard Island and McDonald Islands
HN HND Honduras
HR HRV Croatia; Hrvatska; Kroatien; Croatie
HT HTI Haiti; Haïti
HU HUN Hungary; Magyarország; Ungarn; Hongrie
ID IDN Indonesia; Indonesien; Indonésie
IE IRL Ireland; Éire; Republic of Ireland; Irland; Irlande; Irlanda
IL ISR Israel; ישראל
IM IMN Isle of Man
IN IND India; Bharat; भारत; Indien; Inde
IO IOT British Indian Ocean Territory
IQ IRQ Iraq; العراق
IR IRN Iran, Islamic Republic of; Iran; Islamic Republic of Iran; ایران
IS ISL Iceland; Ísland; Island; Islande
IT ITA Italy; Italia; Italien; Italie; Itália; Italië
JE JEY Jersey
JM JAM Jamaica
JO JOR Jordan
JP JPN Japan; 日本; Nippon; Nihon; Japón; Japon; Japão; Giappone
KE KEN Kenya; Kenia
KG KGZ Kyrgyzstan
KH KHM Cambodia
KI KIR Kiribati
KM COM Comoros
KN KNA Saint Kitts and Nevis; St Kitts and Nevis
KP PRK Korea, Democratic People's Republic of; North Korea; Democratic People's Republic of Korea; DPRK
KR KOR Korea, Republic of; South Korea; Republic of Korea; ROK; 대한민국; 한국; Südkorea; Corée du Sud; Corea
    del Sur
KW KWT Kuwait
KY CYM Cayman Islands
KZ KAZ Kazakhstan; Қазақстан
LA LAO Lao People's Democratic Republic; Laos; Lao PDR
LB LBN Lebanon; Liban; لبنان
LC LCA Saint Lucia; St Lucia
LI LIE Liechtenstein
LK LKA Sri Lanka
LR LBR Liberia
LS LSO Lesotho
LT LTU Lithuania; Lietuva; Litauen
LU LUX Luxembourg; Luxemburg; Lëtzebuerg
LV LVA Latvia; Latvija; Lettland
LY LBY Libya
MA MAR Morocco; Maroc; المغرب; Marokko; Marruecos
MC MCO Monaco
MD MDA Moldova, Republic of; Moldova; Republic of Moldova
ME MNE Montenegro; Crna Gora
MF MAF Saint Martin (French part); Saint Martin; St Martin
MG MDG Madagascar
MH MHL Marshall Islands
MK MKD North Macedonia; Macedonia; Северна Македонија; Nordmazedonien
ML MLI Mali
MM MMR Myanmar; Burma; Myanmar (Burma)
MN MNG Mongolia
MO MAC Macao; Macau; Macao SAR; Macao SAR China; 澳門
MP MNP Northern Mariana Islands
MQ MTQ Martinique
MR MRT Mauritania
MS MSR Montserrat
MT MLT Malta
MU MUS Mauritius
MV MDV Maldives
MW MWI Malawi
MX MEX Mexico; México; Mexiko; Mexique
MY MYS Malaysia
MZ MOZ Mozambique; Moçambique
NA NAM Namibia
NC NCL New Caledonia; Nouvelle-Calédonie
NE NER Niger
NF NFK Norfolk Island
NG NGA Nigeria
NI NIC Nicaragua
NL NLD Netherlands; Nederland; Holland; Niederlande; Pays-Bas; Países Bajos; Países Baixos; Paesi Bassi
NO NOR Norway; Norge; Noreg; Norwegen; Norvège; Noruega
NP NPL Nepal
NR NRU Nauru
NU NIU Niue
NZ NZL New Zealand; Aotearoa; Neuseeland; Nouvelle-Zélande; Nueva Zelanda
OM OMN Oman
PA PAN Panama; Panamá
PE PER Peru; Perú
PF PYF French Polynesia; Polynésie française; Tahiti
PG PNG Papua New Guinea
PH PHL Philippines; Pilipinas; Philippinen; Filipinas
PK PAK Pakistan; پاکستان
PL POL Poland; Polska; Polen; Pologne; Polonia; Polônia
PM SPM Saint Pierre and Miquelon; St Pierre and Miquelon
PN PCN Pitcairn; Pitcairn Islands
PR PRI Puerto Rico
PS PSE Palestine, State of; Palestine; State of Palestine; Palestinian Territories
PT PRT Portugal
PW PLW Palau
PY PRY Paraguay
QA QAT Qatar
RE REU Réunion; La Réunion
RO ROU Romania; România; Rumänien; Roumanie
RS SRB Serbia; Srbija; Србија; Serbien; Serbie
RU RUS Russian Federation; Russia; Россия; Российская Федерация; Russland; Russie; Rusia
RW RWA Rwanda
SA SAU Saudi Arabia; KSA; Kingdom of Saudi Arabia; السعودية; Saudi-Arabien; Arabie saoudite; Arabia
    Saudita
SB SLB Solomon Islands
SC SYC Seychelles
SD SDN Sudan
SE SWE Sweden; Sverige; Schweden; Suède; Suecia; Suécia; Svezia
SG SGP Singapore; 新加坡; Singapur
SH SHN Saint Helena, Ascension and Tristan da Cunha; Saint Helena; St Helena
SI SVN Slovenia; Slovenija; Slowenien
SJ SJM Svalbard and Jan Mayen; Svalbard
SK SVK Slovakia; Slovensko; Slovak Republic; Slowakei
SL SLE Sierra Leone
SM SMR San Marino
SN SEN Senegal; Sénégal
SO SOM Somalia
SR SUR Suriname
SS SSD South Sudan
ST STP Sao Tome and Principe; São Tomé and Príncipe; São Tomé e Príncipe
SV SLV El Salvador
SX SXM Sint Maarten (Dutch part); Sint Maarten; St Maarten
SY SYR Syrian Arab Republic; Syria
SZ SWZ Eswatini; Swaziland
TC TCA Turks and Caicos Islands; Turks and Caicos
TD TCD Chad
TF ATF French Southern Territories
TG TGO Togo
TH THA Thailand; ประเทศไทย; ไทย; Thaïlande; Tailandia
TJ TJK Tajikistan
TK TKL Tokelau
TL TLS Timor-Leste; East Timor
TM TKM Turkmenistan
TN TUN Tunisia; Tunisie; تونس
TO TON Tonga
TR TUR Türkiye; Turkey; Türkei; Turquie; Turquía
TT TTO Trinidad and Tobago; Trinidad
TV TUV Tuvalu
TW TWN Taiwan, Province of China; Taiwan; 台灣; 臺灣; Republic of China
TZ TZA Tanzania, United Republic of; Tanzania; United Republic of Tanzania
UA UKR Ukraine; Україна; Ucrania
UG UGA Uganda
UM UMI United States Minor Outlying Islands; US Minor Outlying Islands
US USA United States; United States of America; The United States of America; America; U.S. of A.;
    Vereinigte Staaten; Vereinigte Staaten von Amerika; États-Unis; Etats-Unis d'Amérique; Estados
    Unidos; Estados Unidos de América; EE.UU.; EEUU; EUA; Stati Uniti; Verenigde Staten
UY URY Uruguay
UZ UZB Uzbekistan
VA VAT Holy See (Vatican City State); Vatican City; Vatican; Holy See
VC VCT Saint Vincent and the Grenadines; St Vincent and the Grenadines; Saint Vincent; St Vincent
VE VEN Venezuela, Bolivarian Republic of; Venezuela; Bolivarian Republic of Venezuela
VG VGB Virgin Islands, British; British Virgin Islands; BVI
VI VIR Virgin Islands, U.S.; US Virgin Islands; United States Virgin Islands; USVI
VN VNM Viet Nam; Vietnam; Việt Nam
VU VUT Vanuatu
WF WLF Wallis and Futuna
WS WSM Samoa; Western Samoa
XK XKX Kosovo; Kosova
YE YEM Yemen
YT MYT Mayotte
ZA ZAF South Africa; RSA; Südafrika; Afrique du Sud; Suid-Afrika
ZM ZMB Zambia
ZW ZWE Zimbabwe"""


def _key(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.replace("&", " and ")).casefold()
    return "".join(c for c in decomposed if c.isalnum())


def _names() -> dict[str, str]:
    names: dict[str, str] = {}
    for line in _TABLE.strip().replace("\n    ", " ").splitlines():
        alpha_2, alpha_3, aliases = line.split(" ", 2)
        for name in (alpha_2, alpha_3, *aliases.split(";")):
            names[_key(name)] = alpha_2
    return names


_NOT_GIVEN = frozenset({"n/a", "n.a.", "#n/a", "n.a", "n-a"})
"""What files write for nothing, though its letters are Namibia's code. A plain NA is Namibia."""


_COUNTRIES = _names()

ALPHA_2 = frozenset(_COUNTRIES.values())
"""Every two-letter code that `parse_country` answers."""

_MAX_TEXT = 100
"""No country's name is longer; nothing longer is looked at or remembered."""


def parse_country(text: str) -> str | None:
    """The country's two-letter code, None for text that names none."""
    return _by_name(text) if len(text) <= _MAX_TEXT else None


# A file names few countries, each thousands of times; 1,024 texts of 100 characters stay below 500 KB.
@lru_cache(maxsize=1024)
def _by_name(text: str) -> str | None:
    if text.strip().casefold() in _NOT_GIVEN:
        return None
    key = _key(text)
    return _COUNTRIES.get(key) or _COUNTRIES.get(key.removeprefix("the"))
