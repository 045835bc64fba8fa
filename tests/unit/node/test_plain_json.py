"""What a task's PID 1 reads and writes is JSON as everybody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.gateway.children import APP
from kcms.node import plain_json

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_it_reads_and_writes_as_the_module_does(document: Any) -> None:
    text = json.dumps(document)
    assert plain_json.dumps(document) == text
    assert plain_json.loads(text) == document
    assert plain_json.loads(f"\n{json.dumps(document, indent=1)} ") == document


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1", '{"a": }', "{} {}", "nul", '"a', "{'a': 1}", "[1,]", '"\n"']
)
def test_what_is_no_json_is_refused(text: str) -> None:
    for loads in (json.loads, plain_json.loads):
        with pytest.raises(ValueError, match=r"."):
            loads(text)


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError, match="set is no JSON"):
        plain_json.dumps({"a": set()})


def test_a_tasks_pid_1_loads_little() -> None:
    """Each of these takes some ms of every task."""
    code = (
        f"import sys; sys.path.append({str(APP)!r}); import kcms.node.init;"
        "print(*{'json', 're', 'enum', 'signal', 'typing', 'functools', 'subprocess', 'pathlib',"
        "'dataclasses'} & sys.modules.keys())"
    )
    command = [sys.executable, "-I", "-S", "-E", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
