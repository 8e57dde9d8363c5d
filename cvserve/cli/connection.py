"""The options of commands that connect to a server: TLS and tokens."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from cvserve.errors import InvalidInput, NotFound

TOKEN_VARIABLE = "CVSERVE_TOKEN"


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Adds --tls, --ca, --certificate, --key, --server-name and --token-file."""
    group = parser.add_argument_group("TLS and tokens")
    group.add_argument(
        "--tls", action="store_true", help="use TLS, with the usual authorities; the next options imply it"
    )
    group.add_argument("--ca", metavar="FILE", help="authorities that sign the server's certificate, as PEM")
    group.add_argument("--certificate", metavar="FILE", help="this client's own certificate, as PEM (mutual TLS)")
    group.add_argument("--key", metavar="FILE", help="the private key of --certificate, as PEM")
    group.add_argument("--server-name", metavar="NAME", help="the name on the server's certificate; default: the host")
    # There is no flag for the token itself: all users of the machine could read it in the list of processes.
    group.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"file with the bearer token; default: the variable {TOKEN_VARIABLE}",
    )


def connection(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of `cvserve.client.Client` that these arguments ask for.

    Raises:
        NotFound: there is no such file. InvalidInput: a file that is empty or cannot be read.
    """
    from cvserve.client import Tls

    parts = (arguments.ca, arguments.certificate, arguments.key, arguments.server_name)
    tls = Tls(*parts) if arguments.tls or any(parts) else None
    return {"tls": tls, "token": _token(arguments.token_file)}


def _token(file: str | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = Path(file).read_text().strip()
    except FileNotFoundError as error:
        raise NotFound(f"no token file {file}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the token file {file} cannot be read: {error}") from error
    if not token:
        raise InvalidInput(f"the token file {file} is empty")
    return token
