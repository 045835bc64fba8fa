"""The user's private keys: those that there are, and those that a passphrase locks.

A passphrase unlocks a key here; it is handed on to nobody, paramiko included, which would show a
server as a password what did not fit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kcms.terminal import plain

USUAL = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
TRIES = 3  # of a passphrase


def there(names: Sequence[str]) -> list[str]:
    """Those that can be read: a configuration may name keys of other machines."""
    paths = [os.path.expanduser(each) for each in names or USUAL]  # noqa: PTH111 - ~nobody stays
    return [each for each in paths if Path(each).is_file() and os.access(each, os.R_OK)]


class Keys:
    """:param ask: for a passphrase; None is said by who does not want to"""

    def __init__(self, paramiko: Any, ask: Callable[[str], str | None]) -> None:
        self._paramiko = paramiko
        self._ask = ask
        self._unlocked: dict[str, Any] = {}

    def is_locked(self, path: str) -> bool:
        for kind in self._kinds():
            try:
                kind.from_private_key_file(path)
            except self._paramiko.PasswordRequiredException:
                return True
            except (self._paramiko.SSHException, OSError, ValueError):
                continue
            return False
        return False

    def unlocked(self, path: str) -> Any:
        """The key, or None when nobody says the right passphrase; asked for once per command."""
        if path not in self._unlocked:
            self._unlocked[path] = self._asked(path)
        return self._unlocked[path]

    def _asked(self, path: str) -> Any:
        for _ in range(TRIES):
            phrase = self._ask(f"Passphrase of {plain(path)}: ")
            if phrase is None:
                return None
            key = self._opened(path, phrase)
            if key is not None:
                return key
        return None

    def _opened(self, path: str, phrase: str) -> Any:
        for kind in self._kinds():
            with contextlib.suppress(self._paramiko.SSHException, OSError, ValueError):
                key = kind.from_private_key_file(path, phrase)
                if Path(f"{path}-cert.pub").is_file():
                    key.load_certificate(f"{path}-cert.pub")
                return key
        return None

    def _kinds(self) -> tuple[Any, ...]:
        return (self._paramiko.RSAKey, self._paramiko.ECDSAKey, self._paramiko.Ed25519Key)
