"""The site's own certificate authority: issue, and judge what was issued.  No files in here.

Times are UTC; ``now`` is passed in.  Keys and certificates go as PEM.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEAR = timedelta(days=365)
CA_LIFE = 20 * YEAR
LEAF_LIFE = 5 * YEAR
RENEW_BEFORE = YEAR
# Hosts whose clocks run behind the control node's must accept a certificate made just now.
BACKDATE = timedelta(days=1)
COMMON_NAME_LIMIT = 64


class AuthorityError(Exception):
    """A key or certificate cannot be used; one line says which, and what to do."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, PEM both."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Request:
    """What one certificate is for: a service of a host, and the identities it carries."""

    host: str
    service: str
    names: Sequence[str] = ()
    addresses: Sequence[str] = ()
    uris: Sequence[str] = ()

    def alternatives(self) -> x509.SubjectAlternativeName:
        """:raises AuthorityError: an address or a name cannot stand in a certificate"""
        try:
            return x509.SubjectAlternativeName(
                [
                    *(x509.DNSName(name) for name in self.names),
                    *(x509.IPAddress(ipaddress.ip_address(each)) for each in self.addresses),
                    *(x509.UniformResourceIdentifier(uri) for uri in self.uris),
                ]
            )
        except ValueError as error:
            raise AuthorityError(f"certificate {self.service} of {self.host}: {error}") from error


@dataclass(frozen=True)
class Authority:
    """The CA with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, grid: str, now: datetime) -> Authority:
        """A new CA, for 20 years, that may sign certificates of hosts and no further CA."""
        key = ec.generate_private_key(ec.SECP384R1())
        name = _name(f"KCMS {grid} CA")
        builder = _builder(name, name, key.public_key(), now, CA_LIFE)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        return cls(builder.sign(key, hashes.SHA384()), key)

    @classmethod
    def load(cls, pair: Pair, where: str) -> Authority:
        """:raises AuthorityError: the files are damaged or do not belong together"""
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate)
            key = serialization.load_pem_private_key(pair.key, password=None)
        except (ValueError, TypeError) as error:
            raise AuthorityError(f"the CA in {where} cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _belong(certificate, key):
            raise AuthorityError(f"ca.key in {where} is not the key of ca.pem: restore both")
        return cls(certificate, key)

    def pair(self) -> Pair:
        return Pair(_pem(self.certificate), _key_pem(self.key))

    def issue(self, request: Request, now: datetime) -> Pair:
        """A certificate for both ends of a TLS connection, for 5 years."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"{request.service}.{request.host}")
        builder = _builder(name, self.certificate.subject, key.public_key(), now, LEAF_LIFE)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(signs_certificates=False), True),
            (x509.ExtendedKeyUsage(both), False),
            (request.alternatives(), False),
            (authority, False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        return Pair(_pem(builder.sign(self.key, hashes.SHA256())), _key_pem(key))

    def objection(self, pair: Pair | None, request: Request, now: datetime) -> str | None:
        """Why a certificate that there is will not do; None when it will."""
        if pair is None:
            return "there is none"
        try:
            certificate = x509.load_pem_x509_certificate(pair.certificate)
            key = serialization.load_pem_private_key(pair.key, password=None)
        except (ValueError, TypeError):
            return "it cannot be read"
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _belong(certificate, key):
            return "its key is another one's"
        if not self._signed(certificate):
            return "another CA signed it"
        if _alternatives(certificate) != request.alternatives():
            return "names, address or roles differ"
        if certificate.not_valid_after_utc - now < RENEW_BEFORE:
            return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
        return None

    def _signed(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def end_of(certificate: bytes) -> datetime:
    """When a certificate ends (UTC)."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - BACKDATE).not_valid_after(now + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:COMMON_NAME_LIMIT])])


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _belong(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    return certificate.public_key() == key.public_key()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
