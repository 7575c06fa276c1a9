"""Turns what LiteLLM raises into an AgentError: the kind of trouble, and the next step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from overnight.core.text import one_line
from overnight.stage.secrets import Secrets

_PREFIX = re.compile(r"^(?:litellm\.)?(?:\w*(?:Error|Exception|Timeout)\b[\s:-]*)+")
_NO_CREDIT = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance|billing", re.I
)
_MOST_QUOTED = 300
_BY_STATUS = {
    401: Trouble.SIGN_IN,
    402: Trouble.CREDIT,
    403: Trouble.SIGN_IN,
    408: Trouble.OVERLOAD,
    429: Trouble.RATE,
}
_NEXT = {
    Trouble.RATE: "wait, or ask the provider for a higher limit",
    Trouble.OVERLOAD: "it may pass by itself",
    Trouble.NETWORK: "check that the server is up and url is right",
    Trouble.SIGN_IN: "set the provider's variable, or name your own in env of [agents.{agent}]",
    Trouble.CREDIT: "check your account with the provider",
    Trouble.LIMIT: "make the prompt shorter",
    Trouble.BROKEN: "check model and url in [agents.{agent}]",
}


class TooLong(Exception):
    """An answer has more bytes than any reply needs."""


def agent_error(error: Exception, agent: str, table: AgentTable) -> AgentError:
    """The error in one line, with what to do; it quotes the server, but no key."""
    if isinstance(error, ImportError):
        return AgentError(f"{agent}: a package that {table.model} needs is missing: {error}")
    chain = list(_chain(error))
    trouble, status = _trouble(chain)
    message = next((str(e) for e in chain if isinstance(e, TooLong)), str(error))
    message = _PREFIX.sub("", message.partition("Traceback (most recent")[0])
    message = message.partition(" Handle with `")[0]
    message = one_line(Secrets.of_agent(table).redacted(message), _MOST_QUOTED).rstrip(". ")
    code = f" (HTTP {status})" if status else ""
    kind = "the call failed" if trouble is Trouble.BROKEN else trouble.value
    step = _NEXT[trouble].format(agent=agent)
    quoted = message or type(error).__name__
    reason = f"{agent}: {server_name(table)}: {kind}{code}: {quoted}; {step}"
    return AgentError(reason, trouble, wait=_retry_after(chain))


def server_name(table: AgentTable) -> str:
    """For messages: host and port. The rest of a url may hold a password."""
    if table.url is None:
        return f"the provider of {table.model}"
    parts = urlsplit(table.url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _retry_after(chain: Sequence[BaseException]) -> float:
    """Seconds that the server asks to wait in `retry-after` (RFC 9110, 10.2.3), a number or a
    date; 0 where it asks for none."""
    import httpx

    answers = [e.response for e in chain if isinstance(e, httpx.HTTPStatusError)]
    value = answers[-1].headers.get("retry-after", "") if answers else ""
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # not a date; a date without a time zone
        return 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, the innermost last; LiteLLM wraps errors of other libraries."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _trouble(chain: list[BaseException]) -> tuple[Trouble, int | None]:
    """The kind of trouble, and the HTTP status, if the server sent one."""
    import httpx
    import litellm

    messages = " ".join(str(error) for error in chain)
    answers = [e.response.status_code for e in chain if isinstance(e, httpx.HTTPStatusError)]
    status = answers[-1] if answers else None
    if any(isinstance(e, litellm.ContextWindowExceededError) for e in chain):
        return Trouble.LIMIT, status
    if status is not None:
        if _NO_CREDIT.search(messages) and status in (400, 403, 429):
            return Trouble.CREDIT, status
        return _BY_STATUS.get(status, Trouble.OVERLOAD if status >= 500 else Trouble.BROKEN), status
    if any(isinstance(e, TooLong) for e in chain):
        return Trouble.BROKEN, None
    if any(isinstance(e, httpx.TransportError | OSError) for e in chain):
        return Trouble.NETWORK, None
    if any(isinstance(e, litellm.AuthenticationError) for e in chain):
        return Trouble.SIGN_IN, None
    return Trouble.BROKEN, None
