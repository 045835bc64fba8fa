"""Certificates for tests, made by the same authority as those of a real site.

``make_site(directory)`` is a site with its CA; two sites are foreign to each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_authority import (
    LEAF_LIFE,
    Authority,
    Request,
)


@dataclass
class Site:
    """A CA below ``directory`` and what it signed."""

    directory: Path
    authority: Authority
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def ca_path(self) -> Path:
        return self.directory / "ca.pem"

    def issue(
        self,
        name: str,
        uris: Sequence[str] = (),
        ips: Sequence[str] = (),
        age: timedelta = timedelta(0),
    ) -> tuple[Path, Path]:
        """Certificate and key (EC P-256) of a host, as PEM files.

        :param uris: its identities, as ``kcms://node/alpha1``
        :param age: how long ago it was made; see :data:`EXPIRED`
        """
        request = Request(name, "test", names=[name], addresses=list(ips), uris=list(uris))
        pair = self.authority.issue(request, datetime.now(UTC) - age)
        stem = self.directory / f"{name}-{next(self._numbers)}"
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        key.chmod(0o600)
        return certificate, key


EXPIRED = LEAF_LIFE + timedelta(days=1)
"""An ``age`` at which a certificate is over."""


def make_site(directory: str | Path, grid: str = "test") -> Site:
    """A new site; ``directory`` is made when it is missing."""
    where = Path(directory)
    where.mkdir(parents=True, exist_ok=True)
    site = Site(where, Authority.make(grid, datetime.now(UTC)))
    site.ca_path.write_bytes(site.authority.pair().certificate)
    return site
