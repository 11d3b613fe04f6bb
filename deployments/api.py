"""A Prefect API: its address, and its faults as messages with a next step. Prefect is imported when first asked for."""

from __future__ import annotations

import asyncio
import functools
import logging
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from stationsync.errors import SetUpError, UsageError

_LOGIN = (
    "Set PREFECT_API_AUTH_STRING to what the server was started with (user:password), or for Prefect Cloud "
    "PREFECT_API_KEY to a valid key."
)
# The answer of any such server to an address that it does not know.
_NO_ROUTE = '{"detail":"Not Found"}'


def require_api(place: str, *, otherwise: str = "") -> str:
    """The API's address. Without one Prefect would start a server of its own, which takes half a minute."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url:
        return url
    raise UsageError(
        place,
        "no Prefect API is configured.",
        not_done="Nothing was done.",
        next_step="Set PREFECT_API_URL, such as http://127.0.0.1:4200/api"
        + (f", or {otherwise}" if otherwise else "."),
    )


def _remember_time_zones() -> None:
    """Prefect looks for their names on the disk at each schedule that it reads, which takes 10 ms: longer than all else
    with a fleet's deployments."""
    from prefect.types import _datetime as prefects

    names = vars(prefects)
    if names.get("available_timezones") is zoneinfo.available_timezones:
        names["available_timezones"] = functools.cache(zoneinfo.available_timezones)


@contextmanager
def answering(url: str, *, not_done: str) -> Iterator[None]:
    """Turns what is wrong with the API, or what it says no to, into SetUpError."""
    import httpx
    from prefect.exceptions import ObjectAlreadyExists, ObjectLimitReached, ObjectNotFound

    _remember_time_zones()
    fault, next_step = "", ""
    try:
        yield
    except (ObjectNotFound, ObjectAlreadyExists, ObjectLimitReached) as error:
        fault, next_step = _meanwhile(error.http_exc)
    except httpx.HTTPStatusError as error:
        fault, next_step = _refused(error.response.status_code, _said(error.response))
    except httpx.HTTPError as error:
        fault = f"does not answer: {' '.join(str(error).split()) or type(error).__name__}"
        next_step = _reach(error)
    except httpx.InvalidURL as error:
        fault, next_step = f"is no address: {error}", "Mend PREFECT_API_URL: http://HOST:4200/api"
    except ValueError as error:
        if not _unreadable(error):
            raise
        fault, next_step = "answers, but not as a Prefect API does", _mend()
    else:
        return
    raise SetUpError(f"Prefect API {_shown(url)}", fault, not_done=not_done, next_step=next_step)


def _meanwhile(error: Exception) -> tuple[str, str]:
    """Prefect has exceptions of its own for what is not there, or is there already."""
    response = getattr(error, "response", None)
    return _refused(getattr(response, "status_code", 0), _said(response))


def _reach(error: Exception) -> str:
    text = str(error)
    if type(error).__name__ in ("ReadTimeout", "WriteTimeout"):
        return "The server hangs, or is too busy: look into its log, and start it again."
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "Set PREFECT_API_SSL_CERT_FILE to the certificate of the server's authority, or mend PREFECT_API_URL."
    if "[SSL" in text:
        return "Mend PREFECT_API_URL: behind that port nobody speaks https. Without TLS it begins with http://"
    if "protocol" in text and "http://" in text:
        return "Mend PREFECT_API_URL: http://HOST:4200/api"
    if "disconnected without" in text:
        return "Mend PREFECT_API_URL: if the server has TLS, it begins with https://. Else look into the server's log."
    return "Start the server (prefect server start), or mend PREFECT_API_URL."


def _refused(status: int, said: str) -> tuple[str, str]:
    if status == 401:
        return f"refuses the login ({status}{said})", _LOGIN
    if status == 403:
        # The login was accepted. Who sends a page instead of a sentence is a proxy before the server.
        fault = f"refuses what was asked for ({status}{said})"
        return fault, "Run the command again; if it stays so, look whether this login, or a proxy, forbids it."
    if status == 404 and said.startswith(": {") and _NO_ROUTE not in said:
        fault = f"does not have what was asked for (404{said}): somebody may have deleted it meanwhile"
        return fault, "Run the command again."
    if status == 409:
        return f"has by now what was about to be made (409{said}): somebody else made it", "Run the command again."
    if status in (404, 405):
        return f"does not know what was asked for ({status}{said})", _mend()
    if status >= 500:
        return f"has failed ({status}{said})", "Look into the server's log."
    return f"refuses the request ({status}{said})", "Correct what it says."


def _said(response: object) -> str:
    """The server's own words, in one line."""
    text = " ".join(str(getattr(response, "text", "")).split())
    return f": {text[:300]}" if text and not text.startswith("<") else ""


def _mend() -> str:
    return "Mend PREFECT_API_URL: it ends with /api, and the server is Prefect 3."


async def events_fault(seconds: float = 10.0) -> str:
    """A sentence where the server, or a proxy before it, takes no WebSocket; empty where it does. By them runs say that
    they live."""
    from prefect.events.clients import get_events_client

    logger = logging.getLogger("prefect.events.clients")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it tells the same at length
    try:
        async with asyncio.timeout(seconds), get_events_client(reconnection_attempts=0):
            return ""
    except Exception as error:  # noqa: BLE001 - of several libraries, and whatever it is: no events arrive
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return (
            f"the Prefect API takes no WebSocket ({why}): no heartbeat of a run arrives, so the watchdog takes long"
            " runs for dead and marks them as crashed while they write on. Let the proxy pass on the header Upgrade for"
            " /api/events/in"
        )
    finally:
        logger.setLevel(level)


def token_race(status: int, text: str) -> bool:
    """With CSRF protection on, a token is only good until its client asks for another: of requests that are begun at
    the same moment, each with a token of its own, all but one are refused. Asked for again, they pass."""
    return status == 403 and "CSRF token" in text


def _unreadable(error: ValueError) -> bool:
    """An answer that is no JSON, or not what was asked for."""
    from json import JSONDecodeError

    from pydantic import ValidationError

    return isinstance(error, (JSONDecodeError, ValidationError))


def _shown(url: str) -> str:
    """Without a login that somebody wrote into the address."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError:
        return "PREFECT_API_URL"
