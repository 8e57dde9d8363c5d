"""Certificates for tests, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """PEM files."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> bytes:
        return self.certificate.read_bytes()

    @property
    def key_pem(self) -> bytes:
        return self.key.read_bytes()


def make_authority(root: Path, name: str) -> Certificate:
    """One that signs itself. Skips the test where there is no openssl."""
    made = _files(root, name)
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-keyout", made.key, "-out", made.certificate, "-subj", f"/CN={name}"),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"),
    )
    return made


def make_certificate(root: Path, name: str, authority: Certificate) -> Certificate:
    """One for localhost and 127.0.0.1, of a server or a client."""
    made = _files(root, name)
    request, extensions = root / f"{name}.csr", root / f"{name}.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    _openssl(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", made.key, "-out", request, "-subj", f"/CN={name}"),
    )
    _openssl(
        *("x509", "-req", "-in", request, "-CA", authority.certificate, "-CAkey", authority.key, "-CAcreateserial"),
        *("-out", made.certificate, "-days", "2", "-extfile", extensions),
    )
    return made


def _files(root: Path, name: str) -> Certificate:
    root.mkdir(parents=True, exist_ok=True)
    return Certificate(root / f"{name}.pem", root / f"{name}.key")


def _openssl(*arguments: object) -> None:
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("needs the openssl command")
    subprocess.run([command, *map(str, arguments)], check=True, capture_output=True, timeout=30)
