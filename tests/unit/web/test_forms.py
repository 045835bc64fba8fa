"""The form *Job Submit*: which fields, and what becomes of what is typed."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.jobs import spec
from kcms.web import forms

GOOD = {"executable": "/shared/a.sh"}


def test_the_fields_of_2003_in_their_order_and_the_others_below() -> None:
    shown = forms.fields({}, {})
    assert [each.title for each in forms.first_fields(shown)] == [
        title for title in forms.TITLES if title in {each.title for each in spec.FIELDS}
    ]
    assert forms.first_fields(shown)[0].title == "Job Name"
    more = [each.title for each in forms.more_fields(shown)]
    assert "Environment" in more
    assert len(shown) == len(spec.FIELDS)
    assert {each.title for each in forms.first_fields(shown)} == set(forms.TITLES)


def test_a_new_row_of_the_table_shows_up_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    new = spec.Field("metric", "Load Metric", str, "load")
    other = spec.Field("colour", "Colour", str, "any", choices=("red", "blue"))
    monkeypatch.setattr(forms, "FIELDS", (*spec.FIELDS, new, other))
    shown = forms.fields({"metric": "5"}, {})
    assert forms.first_fields(shown)[-1].title == "Load Metric"
    assert forms.first_fields(shown)[-1].value == "5"
    (colour,) = [each for each in forms.more_fields(shown) if each.name == "colour"]
    assert (colour.control, colour.choices) == ("choice", ("red", "blue"))


def test_proposals() -> None:
    typed = forms.proposed("/shared/results/%u/", "alice")
    assert typed["output"] == "/shared/results/alice/kcms-%j.%t.out"
    assert typed["priority"] == "0"
    assert forms.proposed("", "alice")["output"] == ""


def test_texts_become_a_specification() -> None:
    typed = {
        **GOOD,
        "name": " sum ",
        "arguments": "-n\r\n a b \r\n\r\nlast\r\n",
        "priority": "-5",
        "environment": "A=1\r\n\r\nB=x=y\r\n",
        "argument_count": " 4 ",
        "class": "single",
        "input": "",
    }
    found = forms.filled(typed)
    assert found.errors == {}
    assert found.spec == {
        "executable": "/shared/a.sh",
        "name": "sum",
        "class": "single",
        "argument_count": 4,
        "arguments": ["-n", " a b ", "", "last"],
        "priority": -5,
        "environment": {"A": "1", "B": "x=y"},
    }


@pytest.mark.parametrize(
    ("typed", "field", "sentence"),
    [
        ({"executable": ""}, "executable", "Executing File is missing."),
        ({"executable": "a.sh"}, "executable", "Executing File must be an absolute path, not"),
        ({"priority": "high"}, "priority", "Priority must be a whole number, not 'high'."),
        ({"priority": "9" * 400}, "priority", "Priority must be a whole number, not '9999"),
        ({"priority": "--5"}, "priority", "Priority must be a whole number, not '--5'."),
        ({"priority": "5000"}, "priority", "from -1000 to 1000"),
        ({"class": "huge"}, "class", "Job Classification must be one of"),
        ({"environment": "novalue"}, "environment", "must have lines NAME=value, not 'novalue'"),
        ({"argument_count": "3", "arguments": "a\nb"}, "argument_count", "is 3, and 2 arguments"),
        ({"argument_count": "many"}, "argument_count", "must be a whole number, not 'many'"),
        ({"arguments": "x" * 5000}, "arguments", "Arguments must be at most 4096 characters"),
        ({"arguments": "\n" * 2000}, "arguments", "Arguments must be a list of at most 1024"),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    typed: dict[str, str], field: str, sentence: str
) -> None:
    found = forms.filled({**GOOD, **typed})
    assert list(found.errors) == [field]
    assert sentence in found.errors[field]
    assert found.errors[field].endswith(".")


def test_a_specification_too_large_as_a_whole_is_refused() -> None:
    found = forms.filled({**GOOD, "arguments": "\n".join(["x" * 4000] * 20)})
    assert list(found.errors) == [""]
    assert "the most" in found.errors[""]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("executable is no file: /x", {"executable": "Executing File is no file: /x."}),
        ("the manager is gone", {"": "The manager is gone."}),
    ],
)
def test_a_refusal_stands_where_it_belongs(message: str, expected: dict[str, Any]) -> None:
    assert forms.refused(message) == expected
