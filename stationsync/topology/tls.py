"""Encrypted connections to a database: `tls:` of an endpoint, and the context that the driver is given."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stationsync.errors import SetUpError
from stationsync.topology.notation import Frozen

_File = Annotated[str, Field(pattern=r"^/")]


class Tls(Frozen):
    """`ca`: who may have signed the server's certificate; without it, whoever the system trusts. `cert` and `key`: our
    own, where the server wants one. With `verify: ca` any host will do whose certificate this CA has signed, as of a
    server that made itself both; with `verify: false` the connection is encrypted, but nobody knows with whom."""

    ca: _File | None = None
    cert: _File | None = None
    key: _File | None = None
    verify: bool | Literal["ca"] = True

    @field_validator("verify")
    @classmethod
    def _verify(cls, verify: bool | str, info: ValidationInfo) -> bool | str:
        if verify == "ca" and not info.data.get("ca"):
            raise ValueError("ca needs the CA's file: name it under ca (else any certificate that the system trusts)")
        return verify

    @field_validator("key")
    @classmethod
    def _key(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key and not info.data.get("cert"):
            raise ValueError("belongs to a certificate: name it under cert")
        return key


def context(tls: Tls, place: str) -> ssl.SSLContext:
    """Raises SetUpError, with the file that cannot be used."""
    made = ssl.create_default_context(cafile=_readable(tls.ca, place))
    made.check_hostname = tls.verify is True
    made.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    # Certificates that MariaDB's own guide makes have no key usage; Python 3.13 would refuse them.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.of_named_ca = tls.verify == "ca"  # type: ignore[attr-defined]  # for `proves`
    if cert := _readable(tls.cert, place):
        try:
            made.load_cert_chain(cert, _readable(tls.key, place))
        except ssl.SSLError as error:
            raise _unusable(cert, place, error.reason or "no certificate and key") from None
    return made


def proves(made: ssl.SSLContext | None) -> bool:
    """Whether a connection with this context is to the server that is meant."""
    if made is None or made.verify_mode is not ssl.CERT_REQUIRED:
        return False
    return made.check_hostname or bool(getattr(made, "of_named_ca", False))


def _readable(path: str | None, place: str) -> str | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _unusable(path, place, error.strerror or type(error).__name__) from None
    if b"-----BEGIN" not in content:
        raise _unusable(path, place, "it is no PEM file")
    return path


def _unusable(path: str, place: str, why: str) -> SetUpError:
    return SetUpError(
        place,
        f"TLS file {path} cannot be used: {why}.",
        not_done="No connection was opened.",
        next_step="Put the file there, readable for the user of this command or worker, or mend `tls:`.",
    )
