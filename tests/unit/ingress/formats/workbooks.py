"""Workbooks and archives made for tests: rows of Python values in, a file out."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import xlsxwriter
import xlwt

Cell = None | str | int | float | bool | date | datetime | time | timedelta
Rows = Sequence[Sequence[object]]  # of cells
Sheets = Mapping[str, Rows]

_FORMATS: Sequence[tuple[type, str]] = (
    (datetime, "yyyy-mm-dd hh:mm:ss"),
    (date, "yyyy-mm-dd"),
    (time, "hh:mm:ss"),
    (timedelta, "[h]:mm:ss"),
)


def make_workbook(
    path: Path, sheets: Sheets | Rows, *, hidden: Sequence[str] = (), from_1904: bool = False
) -> Path:
    """A workbook of the kind that the path's suffix names; rows alone become a sheet named Contacts.

    A text such as "=1/0|#DIV/0!" is a formula with its stored value; in an xls file it becomes the value, and
    #N/A, #DIV/0! and #REF! alone are errors there.
    """
    named = sheets if isinstance(sheets, Mapping) else {"Contacts": sheets}
    make = {".xlsx": _make_xlsx, ".xls": _make_xls, ".ods": _make_ods}[path.suffix]
    make(path, named, hidden, from_1904)
    return path


def make_zip(path: Path, files: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A ZIP archive of these files, in this order."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"

PACKAGE = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Override PartName="/xl/workbook.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
    '<sheet name="Contacts" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


def sheet_xml(rows: str, *, dimension: str = "A1") -> str:
    """The part of a sheet with these `<row>` elements, as they stand."""
    data = f"<sheetData>{rows}</sheetData>"
    return f'<worksheet xmlns="{MAIN}"><dimension ref="{dimension}"/>{data}</worksheet>'


def make_package(
    path: Path, rows: str, *, dimension: str = "A1", parts: Mapping[str, str | None] | None = None
) -> Path:
    """An xlsx file written by hand, for what no writer would write; a part that is None is left out."""
    content = {**PACKAGE, "xl/worksheets/sheet1.xml": sheet_xml(rows, dimension=dimension), **(parts or {})}
    return make_zip(path, {name: text.encode() for name, text in content.items() if text is not None})


def _make_xlsx(path: Path, sheets: Sheets, hidden: Sequence[str], from_1904: bool) -> None:
    with xlsxwriter.Workbook(str(path), {"date_1904": from_1904, "strings_to_formulas": False}) as workbook:
        formats = {kind: workbook.add_format({"num_format": form}) for kind, form in _FORMATS}
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            if name in hidden:
                sheet.hide()
            elif not any(other.get_name() not in hidden for other in workbook.worksheets()[:-1]):
                sheet.activate()  # the first sheet stays in view, and shown, until another is
            for at, row in enumerate(rows):
                for column, value in enumerate(row):
                    if isinstance(value, str) and value.startswith("=") and "|" in value:
                        formula, _, stored = value.partition("|")
                        sheet.write_formula(at, column, formula, None, stored)
                    elif value is not None:
                        sheet.write(at, column, value, *_format_of(value, formats))


def _make_xls(path: Path, sheets: Sheets, hidden: Sequence[str], from_1904: bool) -> None:
    workbook = xlwt.Workbook(encoding="utf-8")
    workbook.dates_1904 = from_1904
    formats = {kind: xlwt.easyxf(num_format_str=form) for kind, form in _FORMATS}
    for name, rows in sheets.items():
        sheet = workbook.add_sheet(name)
        sheet.visibility = int(name in hidden)
        for at, row in enumerate(rows):
            for column, value in enumerate(row):
                if isinstance(value, str) and value.startswith("=") and "|#" in value:
                    # This writer spells one of the errors in its own way.
                    sheet.row(at).set_cell_error(column, value.partition("|")[2].replace("#N/A", "#N/A!"))
                elif isinstance(value, timedelta):
                    sheet.write(at, column, value / timedelta(days=1), formats[timedelta])
                elif value is not None:
                    sheet.write(at, column, value, *_format_of(value, formats))
    workbook.save(str(path))


def _format_of(value: object, formats: Mapping[type, object]) -> list[object]:
    return [formats[kind] for kind in formats if isinstance(value, kind)][:1]


_ODS_HEAD = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0">'
    '<office:automatic-styles><style:style style:name="hidden" style:family="table">'
    '<style:table-properties table:display="false"/></style:style></office:automatic-styles>'
    "<office:body><office:spreadsheet>"
)
_ODS_MANIFEST = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
    "</manifest:manifest>"
)


def _make_ods(path: Path, sheets: Sheets, hidden: Sequence[str], from_1904: bool) -> None:
    assert not from_1904, "OpenDocument stores dates as text"
    tables = "".join(
        f'<table:table table:name={quoteattr(name)} table:style-name="{"hidden" if name in hidden else "x"}">'
        + "".join(f"<table:table-row>{''.join(map(_ods_cell, row))}</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in sheets.items()
    )
    content = f"{_ODS_HEAD}{tables}</office:spreadsheet></office:body></office:document-content>"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            zipfile.ZipInfo("mimetype"), b"application/vnd.oasis.opendocument.spreadsheet", zipfile.ZIP_STORED
        )
        archive.writestr("META-INF/manifest.xml", _ODS_MANIFEST)
        archive.writestr("content.xml", content)


def _ods_cell(value: object) -> str:
    if value is None:
        return "<table:table-cell/>"
    if isinstance(value, str):
        lines = "".join(f"<text:p>{escape(line)}</text:p>" for line in value.split("\n"))
        return f'<table:table-cell office:value-type="string">{lines}</table:table-cell>'
    if isinstance(value, bool):
        kind, named = "boolean", f'boolean-value="{str(value).lower()}"'
    elif isinstance(value, int | float):
        kind, named = "float", f'value="{value!r}"'
    elif isinstance(value, date):
        kind, named = "date", f'date-value="{value.isoformat()}"'
    else:
        assert isinstance(value, time | timedelta)
        if isinstance(value, time):
            value = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
        seconds = int(value.total_seconds())
        kind, named = "time", f'time-value="PT{seconds // 3600}H{seconds // 60 % 60}M{seconds % 60}S"'
    return f'<table:table-cell office:value-type="{kind}" office:{named}/>'
