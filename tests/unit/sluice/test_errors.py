"""Every error has a sentence, a code and a status, and its docstring is the message."""

from __future__ import annotations

import inspect
import re
import string

import pytest

from sluice import errors
from sluice.errors import FileHasNoColumn, Refused, RowRejected, SluiceError, Unavailable

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SluiceError)]


def fields(kind: type[SluiceError]) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(kind.__doc__ or "") if name]


@pytest.mark.requirement("S0-035", "K-19")
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_is_a_sentence_for_a_person(kind: type[SluiceError]) -> None:
    """Its own docstring, on one line, ending as a sentence does, with its facts filled in."""
    assert "__doc__" in vars(kind)
    message = kind(**{name: f"<{name}>" for name in fields(kind)}).message
    assert "\n" not in message
    assert "  " not in message
    assert all(f"<{name}>" in message for name in fields(kind))
    assert message.endswith((".", '."', ">", '...".'))
    assert message[0].isupper() or message.startswith("<")


@pytest.mark.requirement("S0-037", "K-19")
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_a_status_of_its_branch(kind: type[SluiceError]) -> None:
    """What the caller did is a 4xx, what is away is a 503."""
    assert re.fullmatch(r"[A-Z][A-Z_]+", kind.code)
    assert kind.status in range(400, 600)
    if issubclass(kind, Refused):
        assert 400 <= kind.status < 500
    if issubclass(kind, Unavailable):
        assert kind.status == 503


def test_facts_are_kept_and_braces_in_them_are_harmless() -> None:
    """A file's own column names come from outside and may hold anything."""
    error = FileHasNoColumn(field="email", columns="{0}, {columns}, %s")
    assert str(error).startswith("The file has no email column. Its columns are: {0}, {columns}, %s.")
    assert error.facts == {"field": "email", "columns": "{0}, {columns}, %s"}


def test_a_forgotten_fact_is_noticed() -> None:
    """A message with a hole in it is a mistake of ours, not something to show."""
    with pytest.raises(KeyError):
        RowRejected(reason="x")


def test_the_modules_picture_names_only_errors_that_exist() -> None:
    """The tree at the top of the module is true."""
    picture = (errors.__doc__ or "").partition("SluiceError")[2]
    named = re.findall(r"\b[A-Z][a-z]+[A-Z]\w+|\bRefused\b|\bUnavailable\b", picture)
    assert named
    assert {name for name in named if not hasattr(errors, name)} <= {"Do"}


def test_a_sentence_holds_no_nul() -> None:
    """A name out of a file may have one, and no text column of PostgreSQL can hold it."""
    assert errors.FileRefused(problem='There is no sheet "a\0b".').message == 'There is no sheet "ab".'
