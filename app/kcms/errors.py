"""The errors that cross a module's border.

Each one carries a single line for the person who has to act: what was wrong, and what would be
right.  Programs print that line and exit non-zero; the API turns it into its one JSON error shape.
"""

from __future__ import annotations


class KcmsError(Exception):
    """Base of everything this package raises on purpose.

    ``code`` is the stable machine-readable word of the JSON error shape, ``status`` the HTTP
    status that goes with it.
    """

    code = "error"
    status = 500

    @property
    def message(self) -> str:
        return str(self)


class ConfigError(KcmsError):
    """A configuration file or setting that cannot be used."""

    code = "bad_config"


class InvalidRequest(KcmsError):
    """The caller sent something that can never be right (HTTP 400)."""

    code = "invalid_request"
    status = 400


class Unauthorized(KcmsError):
    """Wrong user or password, or a login that is over (HTTP 401)."""

    code = "unauthorized"
    status = 401


class Forbidden(KcmsError):
    """The caller is known, and may not do this (HTTP 403)."""

    code = "forbidden"
    status = 403


class NotFound(KcmsError):
    """No such thing, or none that the caller may see (HTTP 404)."""

    code = "not_found"
    status = 404


class Conflict(KcmsError):
    """The thing is in a state that does not allow this (HTTP 409)."""

    code = "conflict"
    status = 409


class TooMany(KcmsError):
    """Too many attempts; the message says when the next one is taken (HTTP 429)."""

    code = "too_many"
    status = 429


class Unavailable(KcmsError):
    """A daemon, peer or disk that is needed cannot be used now; try again (HTTP 503)."""

    code = "unavailable"
    status = 503


class ProtocolError(KcmsError):
    """A peer sent bytes that do not follow the protocol."""

    code = "protocol_error"
    status = 502
