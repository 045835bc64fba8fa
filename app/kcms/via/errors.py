"""What goes wrong on the way to a head."""

from __future__ import annotations

from kcms.errors import KcmsError


class ViaError(KcmsError):
    """The head cannot be reached, does not let the user in, or a transfer failed."""

    code = "via"


class HostKeyError(ViaError):
    """The head did not prove that it is the one that is meant."""

    code = "host_key"
