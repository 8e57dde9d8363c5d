"""Makes the TLS settings of the two ports from certificates, which are read again when their files change."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvserve.errors import InvalidInput, NotFound
from cvserve.serving.security.settings import PEM, TlsSettings
from cvserve.serving.security.watched import Watched


@dataclass(frozen=True)
class Certificates:
    """Holds the PEM of the server's chain and key, and of the authorities that sign clients' certificates."""

    chain: bytes
    key: bytes
    client_ca: bytes | None

    def context(self, require_client: bool) -> ssl.SSLContext:
        """Returns them as a context of Python's own TLS.

        Raises:
            ValueError (ssl.SSLError): they do not fit together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with _as_file(self.key + b"\n" + self.chain) as path:
            # With a password given, OpenSSL does not ask for one on the terminal if the key is encrypted.
            context.load_cert_chain(path, password="")
        if self.client_ca is not None:
            context.load_verify_locations(cadata=self.client_ca.decode("ascii", "replace"))
            context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
        return context


def watch(settings: TlsSettings) -> Watched[Certificates]:
    """Returns the certificates of the settings, which are read again when their files change.

    Raises:
        NotFound: a file is not there. InvalidInput: certificate and key are not valid or do not fit together.
    """
    values = (settings.certificate, settings.key, settings.client_ca)
    paths = [Path(value) for value in values if value is not None and not value.startswith(PEM)]

    def make() -> Certificates:
        certificates = Certificates(
            _read("certificate", settings.certificate),
            _read("key", settings.key),
            None if settings.client_ca is None else _read("client_ca", settings.client_ca),
        )
        try:
            # gRPC would notice only when a client connects, and would not report it.
            certificates.context(settings.clients_must)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidInput(f"tls: the certificate, its key or client_ca cannot be used: {error}") from error
        return certificates

    return Watched(paths, make)


def grpc_credentials(settings: TlsSettings) -> Any:
    """Returns credentials for the gRPC port, which check the files whenever a client connects.

    Raises:
        NotFound, InvalidInput: see `watch`.
    """
    import grpc

    watched = watch(settings)

    def configuration(certificates: Certificates) -> Any:
        return grpc.ssl_server_certificate_configuration(
            [(certificates.key, certificates.chain)], certificates.client_ca
        )

    used = watched.get()

    def fetch() -> Any:
        nonlocal used
        now = watched.get()
        if now is used:
            return None
        used = now
        return configuration(now)

    return grpc.dynamic_ssl_server_credentials(configuration(used), fetch, settings.clients_must)


def http_context(settings: TlsSettings) -> ssl.SSLContext:
    """Returns a context for the HTTP port, which checks the files whenever a client connects.

    Raises:
        NotFound, InvalidInput: see `watch`.
    """
    watched = watch(settings)
    used = watched.get()
    first = current = used.context(settings.clients_must)

    def choose(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        nonlocal used, current
        now = watched.get()
        if now is not used:
            used, current = now, now.context(settings.clients_must)
        connection.context = current

    first.sni_callback = choose  # type: ignore[assignment]
    return first


@contextmanager
def _as_file(secret: bytes) -> Iterator[str]:
    """Yields the path of a file with these contents, since Python's TLS reads a key from a file only.

    The file is in memory where that is possible, so that the key is not on a disk, and a full disk does not matter.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("tls"), "wb") as file:
            file.write(secret)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    # Readable by this user only.
    with tempfile.NamedTemporaryFile(prefix="cvserve-tls-") as file:
        file.write(secret)
        file.flush()
        yield file.name


def _read(what: str, value: str) -> bytes:
    if value.startswith(PEM):
        return value.encode()
    try:
        return Path(value).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"tls.{what}: no file {value}") from None
    except OSError as error:
        raise InvalidInput(f"tls.{what}: {value} cannot be read: {error.strerror}") from error
