"""The report of requirements: every marker is found, and none is believed that names no row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.requirements_report import SOURCES, MarkerInvalid, Proof, page, proofs

MODULE = """
import pytest

pytestmark = [pytest.mark.requirement("B-01"), pytest.mark.chaos]

@pytest.mark.requirement("S0-001", "K-03")
@pytest.mark.parametrize("x", [1])
async def test_plain(x): ...

@pytest.mark.requirement("S0-002")
class TestClass:
    @pytest.mark.requirement("S0-001")
    def test_inside(self): ...

    def help(self): ...

@pytest.mark.requirement("S4-128")
def not_a_test(): ...

def test_unmarked(): ...
"""


def module(directory: Path, text: str) -> Path:
    (directory / "unit").mkdir(exist_ok=True)
    (directory / "unit" / "test_it.py").write_text(text, encoding="utf-8")
    return directory


def test_markers_of_tests_classes_and_modules_are_found(tmp_path: Path) -> None:
    """Each row lists the tests that name it, by their own marker, their class's or their module's."""
    file = "unit/test_it.py"
    plain, inside = Proof(file, "test_plain"), Proof(file, "TestClass::test_inside")
    assert proofs(module(tmp_path, MODULE)) == {
        "B-01": [inside, plain, Proof(file, "test_unmarked")],
        "S0-001": [inside, plain],
        "S0-002": [inside],
        "K-03": [plain],
    }


@pytest.mark.parametrize("row", ["S0-048", "S9-001", "S0-1", "B-08", "", "s0-001"])
def test_a_row_that_the_checklist_has_not_is_an_error(tmp_path: Path, row: str) -> None:
    """A mistyped id would prove nothing and be noticed by nobody."""
    text = f'import pytest\n@pytest.mark.requirement("{row}")\ndef test_x(): ...\n'
    with pytest.raises(MarkerInvalid, match="test_x names"):
        proofs(module(tmp_path, text))


def test_an_id_that_is_not_written_out_is_an_error(tmp_path: Path) -> None:
    """The report reads the source and runs nothing."""
    text = "import pytest\n@pytest.mark.requirement(*ROWS)\ndef test_x(): ...\n"
    with pytest.raises(MarkerInvalid, match=r"test_it\.py:2"):
        proofs(module(tmp_path, text))


def test_the_page_counts_and_lists(tmp_path: Path) -> None:
    """What is named and what is not adds up to all rows."""
    text = page(proofs(module(tmp_path, MODULE)))
    total = sum(source.count for source in SOURCES)
    assert total == 531
    assert f"4 of {total} rows are named by a test." in text
    assert "## S0: CSV import endpoint (2 of 47)" in text
    assert "| K-03 | `test_plain` (unit/test_it.py) |" in text
    unnamed = [
        each for line in text.splitlines() if line.startswith("Not named yet: ") for each in line.split(",")
    ]
    assert len(unnamed) == total - 4


def test_the_projects_own_markers_are_sound() -> None:
    """Every marker in these tests names rows of the checklist."""
    assert proofs()
