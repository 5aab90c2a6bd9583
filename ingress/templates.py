"""The empty file that a person fills in (S4-047), as CSV or as a workbook."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

COLUMNS = (
    "first_name",
    "last_name",
    "phone",
    "email",
    "company",
    "title",
    "address",
    "city",
    "state",
    "zip",
)

XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_PARTS = "application/vnd.openxmlformats-officedocument.spreadsheetml"

_FIXED = {
    "[Content_Types].xml": f"""<Types xmlns="{_PACKAGE}/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/xl/workbook.xml" ContentType="{_PARTS}.sheet.main+xml"/>
<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_PARTS}.worksheet+xml"/>
<Override PartName="/xl/styles.xml" ContentType="{_PARTS}.styles+xml"/>
</Types>""",
    "_rels/.rels": f"""<Relationships xmlns="{_PACKAGE}/relationships">
<Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/>
</Relationships>""",
    "xl/workbook.xml": f"""<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">
<sheets><sheet name="Contacts" sheetId="1" r:id="rId1"/></sheets>
</workbook>""",
    "xl/_rels/workbook.xml.rels": f"""<Relationships xmlns="{_PACKAGE}/relationships">
<Relationship Id="rId1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>
<Relationship Id="rId2" Type="{_RELATIONS}/styles" Target="styles.xml"/>
</Relationships>""",
    # Style 1 is text (format 49 of ECMA-376, 18.8.30): a phone keeps its plus, a zip its leading zero.
    "xl/styles.xml": f"""<styleSheet xmlns="{_MAIN}">
<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>
<fills count="1"><fill><patternFill patternType="none"/></fill></fills>
<borders count="1"><border/></borders>
<cellStyleXfs count="1"><xf/></cellStyleXfs>
<cellXfs count="2"><xf xfId="0"/><xf xfId="0" numFmtId="49" applyNumberFormat="1"/></cellXfs>
</styleSheet>""",
}
"""A workbook with one sheet: everything but the sheet."""


def csv_template(columns: Sequence[str] = COLUMNS) -> bytes:
    """The header line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(columns)
    return text.getvalue().encode()


def xlsx_template(columns: Sequence[str] = COLUMNS) -> bytes:
    """A workbook with the header row, every column being text; the same bytes each time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**_FIXED, "xl/worksheets/sheet1.xml": _sheet(columns)}.items():
            archive.writestr(zipfile.ZipInfo(name), _XML + content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _sheet(columns: Sequence[str]) -> str:
    cells = "".join(
        f'<c r="{chr(ord("A") + index)}1" s="1" t="inlineStr"><is><t>{escape(name)}</t></is></c>'
        for index, name in enumerate(columns)
    )
    return f"""<worksheet xmlns="{_MAIN}">
<cols><col min="1" max="{len(columns)}" width="18" style="1" customWidth="1"/></cols>
<sheetData><row r="1">{cells}</row></sheetData>
</worksheet>"""
