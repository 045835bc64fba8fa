"""Our wheel, made from app/ on the control node: the same bytes from the same sources, always.

No build backend is needed: the package is pure Python, and a wheel is a zip with four small
files more.  The version carries a hash of the content, so that no change can go out under a
version that hosts have already.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "kcms"
SKIPPED = {"__pycache__"}
EPOCH = (2020, 1, 1, 0, 0, 0)
HASH_DIGITS = 12
MARKED = f"{PACKAGE}/__init__.py"
METADATA = """\
Metadata-Version: 2.1
Name: {package}
Version: {version}
Summary: Several Linux clusters as one system
Requires-Python: >=3.11
Provides-Extra: via
Requires-Dist: paramiko>=2.12; extra == "via"
"""
COMMAND = "[console_scripts]\nkcms = kcms.cli:main\n"
"""For pip, on a machine outside the grid; on hosts the rollout puts its own launcher."""

DECLARED = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


class WheelError(Exception):
    """The sources are not there or say no version."""


@dataclass(frozen=True)
class Sources:
    """The files of the package: path inside app/ (with slashes) to content."""

    files: dict[str, bytes]

    @classmethod
    def read(cls, app: Path) -> Sources:
        """Read ``app``/kcms.  :raises WheelError: no package lies there"""
        root = app / PACKAGE
        if not (root / "__init__.py").is_file():
            raise WheelError(
                f"no package {PACKAGE} under {app}: this checkout or archive is broken"
            )
        files = {
            path.relative_to(app).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not SKIPPED & set(path.parts) and path.suffix != ".pyc"
        }
        return cls(files)

    @property
    def version(self) -> str:
        """``__version__`` and a hash of all names and contents, as ``0.1.0+3f2a…``."""
        found = DECLARED.search(self.files[MARKED].decode())
        if not found:
            raise WheelError(f"{MARKED} says no __version__")
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return f"{found.group(1)}+{digest.hexdigest()[:HASH_DIGITS]}"

    def stamped(self) -> dict[str, bytes]:
        """The files in order, the package saying its whole version: hosts report what they run."""
        files = dict(sorted(self.files.items()))
        text = DECLARED.sub(f'__version__ = "{self.version}"', files[MARKED].decode())
        return files | {MARKED: text.encode()}


def wheel_name(version: str) -> str:
    return f"{PACKAGE}-{version}-py3-none-any.whl"


def build_wheel(sources: Sources) -> bytes:
    """The wheel of ``sources`` (binary distribution format 1.0), byte for byte reproducible."""
    version = sources.version
    info = f"{PACKAGE}-{version}.dist-info"
    metadata = METADATA.format(package=PACKAGE, version=version)
    wheel = "Wheel-Version: 1.0\nGenerator: kcms\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = sources.stamped()
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = wheel.encode()
    files[f"{info}/entry_points.txt"] = COMMAND.encode()
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return packed.getvalue()


def _digest(data: bytes) -> str:
    text = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
    return f"sha256={text.rstrip('=')}"
