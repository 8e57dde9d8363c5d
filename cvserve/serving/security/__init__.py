"""TLS certificates and bearer tokens with rights. Their files are read again when they change."""

from cvserve.serving.security.settings import TlsSettings
from cvserve.serving.security.tls import grpc_credentials, http_context
from cvserve.serving.security.tokens import Access, Right

__all__ = ["Access", "Right", "TlsSettings", "grpc_credentials", "http_context"]
