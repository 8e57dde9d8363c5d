"""The settings of TLS. This module does not import gRPC, since every command reads settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

from cvserve.errors import InvalidInput

PEM = "-----BEGIN"
"""A value that begins with this is the PEM text itself, not the name of a file."""


class TlsSettings(BaseModel):
    """Holds the certificates of the server and of its clients, each a PEM file or the PEM text.

    Files are checked when a client connects, and read again when they have changed; open connections keep the
    certificates that they have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    certificate: str
    """The server's certificate, and those of the authorities between it and the root."""

    key: str
    """The private key of the certificate."""

    client_ca: str | None = None
    """The authorities that sign certificates of clients (mutual TLS)."""

    require_client: bool | None = None
    """Whether a client must have a certificate; None: only if client_ca is given."""

    http: bool = True
    """Whether the HTTP port speaks TLS too."""

    @property
    def clients_must(self) -> bool:
        """Returns whether a client without a certificate is refused."""
        return self.client_ca is not None if self.require_client is None else self.require_client

    @model_validator(mode="after")
    def _check(self) -> TlsSettings:
        if self.require_client and self.client_ca is None:
            raise InvalidInput("tls.require_client needs tls.client_ca, which signs clients' certificates")
        return self
