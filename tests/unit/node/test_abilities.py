"""A node says that it can do what it has the means for."""

from __future__ import annotations

import pytest

from kcms.config import NodeConfig
from kcms.jobs.model import ABILITIES, ATTACH, CHECKPOINT, STAGE
from kcms.node.capability import STILL
from kcms.node.daemon import abilities

GOOD = {"trouble": ""}


def config(**changes: object) -> NodeConfig:
    known = {"shared_directories": ("/s",), "gateway_user": "kcms-gateway"}
    made = object.__new__(NodeConfig)
    for name, value in {**known, **changes}.items():
        object.__setattr__(made, name, value)
    return made


def test_it_can_do_all() -> None:
    assert abilities(config(), GOOD) == ABILITIES


@pytest.mark.parametrize("mover", [{"trouble": STILL}, {"trouble": "no criu"}, {}])
def test_without_criu_it_saves_nothing(mover: dict[str, str]) -> None:
    assert set(ABILITIES) - set(abilities(config(), mover)) == {CHECKPOINT}


def test_nor_without_a_shared_directory() -> None:
    found = abilities(config(shared_directories=()), GOOD)
    assert set(ABILITIES) - set(found) == {CHECKPOINT}


def test_without_a_gateway_it_has_no_files_and_no_terminals() -> None:
    found = abilities(config(gateway_user=""), GOOD)
    assert set(ABILITIES) - set(found) == {ATTACH, STAGE}
