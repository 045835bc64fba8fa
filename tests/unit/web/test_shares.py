"""Places that one may hold at once."""

from __future__ import annotations

import threading

import pytest

from kcms.errors import Unavailable
from kcms.web.shares import Shares


def test_each_name_has_so_many_and_gets_them_back() -> None:
    shares = Shares(2)
    with shares.one("a", 0, "busy"), shares.one("a", 0, "busy"), shares.one("b", 0, "busy"):
        assert (shares.held("a"), shares.held("b")) == (2, 1)
        with pytest.raises(Unavailable, match="busy"), shares.one("a", 0, "busy"):
            pass
    assert (shares.held("a"), shares.held("b"), len(shares._held)) == (0, 0, 0)


def test_a_place_is_given_back_by_what_fails() -> None:
    shares = Shares(1)
    with pytest.raises(KeyError), shares.one("a", 0, "busy"):
        raise KeyError
    assert shares.held("a") == 0


def test_who_waits_gets_the_place_that_comes_free() -> None:
    shares, came = Shares(1), threading.Event()

    def wait() -> None:
        with shares.one("a", 60, "busy"):
            came.set()

    with shares.one("a", 0, "busy"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not came.is_set()
    assert came.wait(30)
    waiting.join(30)
