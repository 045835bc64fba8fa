"""What ansible-doc shows is what the modules accept, and the job fields are those of the table."""

from __future__ import annotations

import filecmp
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible_collections.kcms.cluster.plugins.doc_fragments.jobs import ModuleDocFragment
from ansible_collections.kcms.cluster.plugins.module_utils.kcms_module import common_arguments
from ansible_collections.kcms.cluster.plugins.modules import (
    accounting_info,
    job_checkpoint,
    job_hold,
    job_info,
    job_kill,
    job_migrate,
    job_restart,
    job_signal,
    job_submit,
    node_info,
    node_state,
    process_info,
)

from kcms.client import DEFAULT_SOCKET, REASON_LIMIT
from kcms.jobs.signals import NAMES
from kcms.jobs.spec import FIELDS, PRIORITY_LIMIT, STAGED
from kcms.manager.nodes import AVAILABILITY, LONGEST_REASON

ROOT = Path(__file__).resolve().parents[3]
MODULES = [
    accounting_info,
    job_checkpoint,
    job_hold,
    job_info,
    job_kill,
    job_migrate,
    job_restart,
    job_signal,
    job_submit,
    node_info,
    node_state,
    process_info,
]
ALL = sorted(path for path in (ROOT / "plugins/modules").glob("*.py"))
TYPES = {
    "text": "str",
    "path": "str",
    "integer": "int",
    "boolean": "bool",
    "duration": "raw",
    "size": "raw",
    "moment": "raw",
    "list": "list",
    "table": "dict",
}


def documented(module: ModuleType) -> dict[str, dict[str, Any]]:
    own = yaml.safe_load(module.DOCUMENTATION)["options"]
    return {**yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"], **own}


def arguments(module: ModuleType) -> dict[str, dict[str, Any]]:
    return {**common_arguments(), **module.ARGUMENTS}


def facts(option: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": option.get("type", "str"),
        "default": option.get("default"),
        "required": option.get("required", False),
        "elements": option.get("elements"),
        "choices": option.get("choices"),
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.__name__.rpartition(".")[2])
def test_documentation_is_what_is_accepted(module: ModuleType) -> None:
    accepted = {name: facts(option) for name, option in arguments(module).items()}
    assert {name: facts(option) for name, option in documented(module).items()} == accepted


def test_the_signals_are_those_of_the_manager() -> None:
    assert job_signal.ARGUMENTS["signal"]["choices"] == list(NAMES)


def test_fields_of_a_job_are_those_of_the_table() -> None:
    options = documented(job_submit)
    control = {"user", "cluster", "socket", "key", "wait", "wait_timeout"}
    assert set(options) - control == {row.name for row in (*FIELDS, STAGED)}
    for row in (*FIELDS, STAGED):
        default = list(row.default) if row.kind == "list" else row.default
        assert facts(options[row.name]) == {
            "type": TYPES[row.kind],
            "default": default,
            "required": row.required,
            "elements": "str" if row.kind == "list" else None,
            "choices": list(row.choices) or None,
        }
    assert f"-{PRIORITY_LIMIT} to {PRIORITY_LIMIT}" in options["priority"]["description"]
    assert options["socket"]["default"] == DEFAULT_SOCKET


@pytest.mark.parametrize("module", MODULES, ids=lambda each: each.__name__.rpartition(".")[2])
def test_examples_use_options_there_are(module: ModuleType) -> None:
    name = module.__name__.rpartition(".")[2]
    tasks = yaml.safe_load(module.EXAMPLES)
    assert tasks
    for task in tasks:
        assert set(task[f"kcms.cluster.{name}"]) <= set(documented(module))
    adhoc = re.findall(rf"-m kcms.cluster.{name} -a '([^']*)'", module.EXAMPLES)
    assert adhoc
    assert {word.split("=")[0] for word in adhoc[0].split()} <= set(documented(module))


def texts(path: Path) -> dict[str, Any]:
    """The documents of a module, by the names of their variables."""
    found = re.findall(r'^([A-Z]+) = r"""\n(.*?)"""$', path.read_text(), re.MULTILINE | re.DOTALL)
    return {name: yaml.safe_load(text) for name, text in found}


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_module_says_what_it_does_and_returns(path: Path) -> None:
    said = texts(path)
    assert set(said) == {"DOCUMENTATION", "EXAMPLES", "RETURN"}
    assert said["DOCUMENTATION"]["module"] == path.stem
    fragment = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["attributes"]
    shared = fragment if "extends_documentation_fragment" in said["DOCUMENTATION"] else {}
    attributes = {**shared, **said["DOCUMENTATION"]["attributes"]}
    assert {"check_mode", "diff_mode", "platform"} <= set(attributes)
    assert {each["support"] for each in attributes.values()} <= {"full", "partial", "none", "N/A"}
    for name, value in said["RETURN"].items():
        assert {"description", "returned", "type", "sample"} <= set(value), name


def test_the_action_group_has_all_modules_of_jobs() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    with_fragment = [path.stem for path in ALL if "kcms.cluster.jobs\n" in path.read_text()]
    assert runtime["action_groups"]["jobs"] == with_fragment == [name_of(each) for each in MODULES]


def name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def test_limits_and_words_are_those_of_the_manager() -> None:
    assert REASON_LIMIT == LONGEST_REASON
    assert f"at most {LONGEST_REASON} characters" in str(documented(node_state)["reason"])
    assert set(node_info.AVAILABILITY) == set(AVAILABILITY)


@pytest.mark.parametrize(
    ("link", "source"),
    [
        ("kcms_client.py", "app/kcms/client.py"),
        ("kcms_checkpointed.py", "app/kcms/checkpointed.py"),
        ("kcms_spec.py", "app/kcms/jobs/spec.py"),
    ],
)
def test_modules_carry_the_same_files_and_those_import_nothing_of_ours(
    link: str, source: str
) -> None:
    assert filecmp.cmp(ROOT / "plugins/module_utils" / link, ROOT / source, shallow=False)
    assert not re.search(r"^\s*(from|import) kcms", (ROOT / source).read_text(), re.MULTILINE)
