"""JSON documents and lines become rows: nothing rounded, nothing lost, nothing crashing."""

from __future__ import annotations

import contextlib
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.formats.json_rows import open_json, open_ndjson
from ingress.formats.json_values import MAX_DEPTH, flatten, scan
from ingress.formats.opening import Asked
from ingress.formats.rows import MAX_COLUMNS, MAX_ROW_BYTES, FileHasTooManyFields, FileUnreadable
from sluice.errors import FileEmpty, FileRefused
from tests.unit.ingress.formats.opened import opened

CORPORA = Path(os.environ.get("SLUICE_CORPORA", "corpora"))
SUITE = sorted((CORPORA / "json-test-suite" / "test_parsing").glob("*.json"))

unhurried = settings(deadline=None)


def flat(text: str) -> dict[str, str]:
    """The fields of the object that is written so."""
    return flatten(scan(text, 0)[0])


@pytest.mark.parametrize(
    ("written", "fields"),
    [
        ('{"phone": 14155550001}', {"phone": "14155550001"}),
        ('{"phone": 1.4155550001E10, "n": -0.10}', {"phone": "1.4155550001E10", "n": "-0.10"}),
        ('{"n": ' + "7" * 5000 + "}", {"n": "7" * 5000}),
        ('{"a": null, "b": true, "c": false}', {"a": "", "b": "true", "c": "false"}),
        ('{"a": [], "b": {}, "c": [null]}', {"a": "", "b": "", "c": ""}),
        ('{"a": "  x\\n"}', {"a": "x"}),
        ('{"a": 1, "a": 2}', {"a": "1 ::: 2"}),
        ('{"a": "x", "b": "y", "a": "x"}', {"a": "x", "b": "y"}),
        ('{"a": ["x", "y"], "a": "z"}', {"a": "x ::: y ::: z"}),
        ('{"n": {"b": 1, "b": null, "b": 2}}', {"n.b": "1 ::: 2"}),
        ('{"adr": {"city": "Bonn", "geo": {"lat": 1.50}}}', {"adr.city": "Bonn", "adr.geo.lat": "1.50"}),
        ('{"tags": ["a", 1, true, null, ["b"]]}', {"tags": "a ::: 1 ::: true ::: b"}),
        ('{"a": {"b": "1"}, "a.b": "2"}', {"a.b": "1 ::: 2"}),
        ('{"a.b": "2", "a": {"b": "1"}}', {"a.b": "2 ::: 1"}),
        ('{"mail": [{"value": "a@x.org", "type": "work"}, {"value": "b"}]}', {"mail": "a@x.org ::: b"}),
        ('{"mail": [{"value": "a"}, {"value": "b", "primary": true}]}', {"mail": "b ::: a"}),
        ('{"mail": [{"value": "a"}, {"value": "b", "metadata": {"primary": true}}]}', {"mail": "b ::: a"}),
        ('{"mail": [{"name": "Ann", "address": "a@x.org"}]}', {"mail": "a@x.org"}),
        ('{"phones": [{"type": "home", "number": 123}]}', {"phones": "123"}),
        ('{"tags": [{"id": 7, "name": "VIP"}, {"id": 8, "name": "new"}]}', {"tags": "VIP ::: new"}),
        ('{"org": [{"name": "ACME", "title": "Boss"}]}', {"org.name": "ACME", "org.title": "Boss"}),
        (
            '{"adr": [{"street": "1 Main St", "city": "Bonn"}, {"street": "2 Side St", "city": "Rome"}]}',
            {"adr.street": "1 Main St", "adr.city": "Bonn", "adr (others)": "2 Side St, Rome"},
        ),
    ],
)  # fmt: skip
def test_what_an_object_becomes(written: str, fields: dict[str, str]) -> None:
    """Numbers as written, nested names dotted, several values joined with the primary one first."""
    assert flat(written) == fields


@pytest.mark.parametrize(
    "data",
    [
        b'[{"email": "a@x.org", "n": 1}, {"phone": "2", "email": "b@x.org"}]',
        b'\xef\xbb\xbf {"n": 2, "x":[{"email": "a@x.org", "n": 1}, {"phone": "2", "email": "b@x.org"}]}',
        '[{"email": "a@x.org", "n": 1}, {"phone": "2", "email": "b@x.org"}]'.encode("utf-16"),
    ],
)  # fmt: skip
def test_an_array_becomes_a_table(data: bytes) -> None:
    """The columns are all keys in the order in which they come, the lines the elements' numbers."""
    table = opened(open_json, data)
    assert table.columns == ("email", "n", "phone")
    assert table.rows == [(1, ["a@x.org", "1", ""], None), (2, ["b@x.org", "", "2"], None)]
    assert bool(table.notes) == (b'"x"' in data)


def test_a_document_on_one_line_is_no_line_of_many() -> None:
    """What begins like JSON lines may be a document without line ends; with a second object it is lines."""
    document = b'{"contacts": [{"email": "a@x.org"}, {"email": "b@x.org"}]}\n'
    assert opened(open_ndjson, document) == opened(open_json, document)
    assert len(opened(open_ndjson, document).rows) == 2
    lines = opened(open_ndjson, document + b'{"contacts": [{"email": "c@x.org"}]}')
    assert lines.cells == [{"contacts": "a@x.org ::: b@x.org"}, {"contacts": "c@x.org"}]


def test_a_single_object_is_one_contact() -> None:
    """An object without a list of objects is taken as a contact, and the answer says so."""
    table = opened(open_json, b'{"email": "a@x.org", "tags": ["a", "b"]}')
    assert table.cells == [{"email": "a@x.org", "tags": "a ::: b"}]
    assert table.notes


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a": [{"x": 1}], "b": [{"y": 1}]}', '"a" and "b" are both lists'),
        (b'[{"a": 1},\n {"a": 2}\n {"a": 3}]', 'at line 3, column 2, there is no ","'),
        (b'[{"a": 1},\n {"a": 2}', "at line 2, column 10, it ends too early"),
        (b'[{"a": 1}, {"a', "never closed"),
        (b'[{"a": 1},]', "line 1, column 11"),
        (b'[{"a": 1}] x', "text follows behind the end"),
        (b'[{"a": NaN}]', "NaN"),
        (b'"text"', "single JSON value"),
        (b"12", "single JSON value"),
        (b"[1, 2]", "no JSON object"),
        (b"[]", "no JSON object"),
        (b'{"contacts": []}', "no JSON object"),
        (b"[" * 100_000, "it ends too early"),
        (b'{"a":' * 100_000, "it ends too early"),
        (b'[{"a": "' + b"x" * 3 * MAX_ROW_BYTES, "it ends too early"),
    ],
)
def test_what_is_no_list_of_objects_is_refused(data: bytes, problem: str) -> None:
    """A broken document is refused with its place, and so is one without contacts."""
    with pytest.raises(FileRefused) as refused:
        opened(open_json, data)
    assert problem in refused.value.message


@pytest.mark.parametrize("opener", [open_json, open_ndjson])
def test_a_name_that_stands_twice_has_both_values(opener: Any) -> None:
    """No value is dropped, whichever way the object is read."""
    both = b'{"email": "a@example.com", "name": "Ann", "email": "b@example.com"}'
    for data in (both, b"[" + both + b"]", both + b"\n" + both):
        if opener is open_json and data.count(b"\n"):
            continue
        table = opened(opener, data)
        assert table.cells[0] == {"email": "a@example.com ::: b@example.com", "name": "Ann"}


def test_names_in_sentences_are_text() -> None:
    """A list whose name is half a character is named all the same."""
    (note,) = opened(open_json, rb'{"\ud800": [{"a": 1}]}').notes
    assert note.encode()


def test_what_one_element_holds_is_its_own_fault() -> None:
    """Elements that cannot be contacts are faulty rows between good ones."""
    deep = b'{"a":' * 50 + b"1" + b"}" * 50
    deeper = b"[" * 100_000 + b"]" * 100_000
    long = b'{"a": "' + b"\\\\]" * MAX_ROW_BYTES + b'"}'
    faulty = [
        b"7",
        b"[1]",
        b"null",
        rb'{"a": "\ud800"}',
        rb'{"a": "\u0000"}',
        b'{"a": "\xff"}',
        deep,
        deeper,
        long,
    ]
    table = opened(
        open_json, b"[" + b", \n".join([b'{"a": "good"}', *faulty, b'{"a": "too"}']) + b"]", "utf-8"
    )
    codes = ["not_an_object"] * 3 + ["half_character", "nul_byte", "bad_encoding"] + ["too_deep"] * 2
    assert table.faults == dict(enumerate([*codes, "row_too_long"], 2))
    assert table.cells[0] == {"a": "good"}
    assert table.cells[-1] == {"a": "too"}
    assert table.cells[4:7] == [{"a": "�"}] * 3


def test_a_broken_line_is_one_row(tmp_path: Path) -> None:
    """A line of NDJSON that cannot be read is a faulty row with its line; blank lines are none."""
    lines = [
        b'{"a": 1}',
        b"",
        b'{"a": 2',
        b'{"a": 3} {"a": 4}',
        b"  ",
        b"[5]",
        b'{"a": "\xff"}',
        b'{"a": "\0"}',
    ]
    lines += [b"[" * 100_000, b'{"a": "' + b"x" * MAX_ROW_BYTES + b'"}', b'\xef\xbb\xbf{"a": 6}']
    table = opened(open_ndjson, b"\r\n".join(lines), "utf-8")
    assert table.lines == [1, 3, 4, 6, 7, 8, 9, 10, 11]
    codes = [
        "broken_json",
        "broken_json",
        "not_an_object",
        "bad_encoding",
        "nul_byte",
        "too_deep",
        "row_too_long",
    ]
    assert table.faults == dict(zip(table.lines[1:-1], codes, strict=True))
    assert (table.cells[0], table.cells[-1]) == ({"a": "1"}, {"a": "6"})
    assert 'there is no "," at character 8' in table.sentences[0]


@pytest.mark.parametrize("opener", [open_json, open_ndjson])
def test_too_many_fields_are_refused(opener: Any) -> None:
    """More fields than a table may have columns end in a sentence, also when no row has many."""
    elements = [json.dumps({f"field {number}": 1}) for number in range(MAX_COLUMNS + 1)]
    data = "[" + ",".join(elements) + "]" if opener is open_json else "\n".join(elements)
    with pytest.raises(FileHasTooManyFields):
        opened(opener, data.encode())
    with pytest.raises(FileEmpty):
        opened(opener, b"")


@pytest.mark.parametrize("opener", [open_json, open_ndjson])
def test_memory_is_flat(opener: Any, tmp_path: Path) -> None:
    """Four times the rows take no more memory."""

    def peak(rows: int) -> int:
        line = json.dumps({"name": "Ann Example", "email": "ann@example.org", "notes": "x" * 400})
        path = tmp_path / f"{rows}.json"
        path.write_text("[" + ",".join([line] * rows) + "]" if opener is open_json else f"{line}\n" * rows)
        tracemalloc.start()
        assert sum(1 for _ in opener(path, Asked()).rows) == rows
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(16_000) < 1.2 * peak(4_000)


@pytest.mark.skipif(not SUITE, reason="SLUICE_CORPORA names no folder")
@pytest.mark.parametrize("path", SUITE, ids=lambda path: path.name)
def test_json_test_suite(path: Path) -> None:
    """No text crashes; what must be refused is, what must be accepted and is a list of objects opens."""
    data = path.read_bytes()
    with contextlib.suppress(FileRefused):
        opened(open_ndjson, data)
    value = json.loads(data) if path.name.startswith("y_") else None
    if isinstance(value, dict) and value and [] not in value.values():
        assert len(opened(open_json, data).rows) == 1
    elif path.name.startswith(("y_", "n_")):
        with pytest.raises(FileRefused) as refused:
            opened(open_json, data)
        is_no_list = not isinstance(value, list | dict)
        assert isinstance(refused.value, FileUnreadable | FileEmpty) == is_no_list


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
documents = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b":", b",", b"\\", b'"a"', b" ", b"\xff", b"\n"]))
    .map(b"".join),
    values.map(lambda value: json.dumps(value).encode()),
)  # fmt: skip


@unhurried
@given(data=documents)
def test_any_bytes_end_in_rows_or_a_refusal(data: bytes) -> None:
    """Whatever the bytes, nothing but FileRefused is raised, and every cell can be stored."""
    for opener in (open_json, open_ndjson):
        with contextlib.suppress(FileRefused):
            table = opened(opener, data)
            assert all(
                "\0" not in cell and cell.encode() == cell.encode()
                for _, row, _ in table.rows
                for cell in row
            )


plain = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Z", "C")), min_size=1
)


@unhurried
@given(
    rows=st.lists(st.dictionaries(plain, plain, min_size=1, max_size=4), min_size=1, max_size=8),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_objects_of_texts_come_out_as_they_went_in(
    rows: list[dict[str, str]], indent: int | None, ascii_only: bool
) -> None:
    """Every object of texts gives its texts, from an array and from lines alike."""
    array = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    lines = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode()
    expected = [sorted(row.values()) for row in rows]
    for opener, data in ((open_json, array), (open_ndjson, lines)):
        table = opened(opener, data, "utf-8")
        assert [sorted(cells.values()) for cells in table.cells] == expected
        assert table.faults == {}


def test_depth_is_counted_in_levels() -> None:
    """As many levels as allowed are read, one more is a fault."""
    for levels, faults in ((MAX_DEPTH, {}), (MAX_DEPTH + 1, {1: "too_deep"})):
        data = b'{"a":' * levels + b"1" + b"}" * levels
        assert opened(open_ndjson, b'{"x": 1}\n' + data).faults == {
            line + 1: code for line, code in faults.items()
        }
