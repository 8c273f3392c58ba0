"""Certificates: an authority of the benchmark's own, and where the programs that are measured look for it.

They trust this machine's usual list with one more entry: a client that reads the whole list for each mail, as
SendGrid's does, is to be measured doing so.
"""

import ipaddress
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.servers import ROOT


class Trust:
    """A certificate for 127.0.0.1 in `directory`: `server.pem` and `server.key`. Lasts a day."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(key).public_bytes(Encoding.PEM)
        (directory / "server.pem").write_bytes(self._certificate)
        (directory / "server.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        self.system_list = self._extended(directory / "system.pem", _system_list())
        self.mozilla_list = self._extended(directory / "mozilla.pem", Path(certifi.where()))
        (directory / "certifi.py").write_text(f"def where():\n    return {str(self.mozilla_list)!r}\n")
        self._directory = directory

    def environment(self) -> dict[str, str]:
        """For a program that takes the list from OpenSSL, or, as Postroom's worker does, from certifi."""
        return {
            "SSL_CERT_FILE": str(self.system_list),
            "PYTHONPATH": os.pathsep.join([str(self._directory), str(ROOT)]),
        }

    def _extended(self, path: Path, original: Path) -> Path:
        path.write_bytes(original.read_bytes() + b"\n" + self._certificate)
        return path


def _system_list() -> Path:
    """The list that OpenSSL reads when nothing else is said, else Mozilla's."""
    usual = Path(ssl.get_default_verify_paths().openssl_cafile)
    return usual if usual.exists() else Path(certifi.where())


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Signed by its own key, and so an authority too."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Postroom's benchmarks")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
