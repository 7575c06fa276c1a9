"""What LiteLLM raises, and what that means: one of our troubles, with the next step."""

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
_PAID_UP = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance|billing", re.I
)
_MOST_WORDS = 300
_BY_STATUS = {
    401: Trouble.SIGN_IN,
    402: Trouble.CREDIT,
    403: Trouble.SIGN_IN,
    408: Trouble.OVERLOAD,
    429: Trouble.RATE,
}
_NEXT = {
    Trouble.RATE: "wait, or ask the provider for a higher rate",
    Trouble.OVERLOAD: "it may pass by itself",
    Trouble.NETWORK: "is the server up, and url right?",
    Trouble.SIGN_IN: "set the provider's variable, or name yours in env of [agents.{agent}]",
    Trouble.CREDIT: "see what the provider says of your account",
    Trouble.LIMIT: "make the prompt shorter",
    Trouble.BROKEN: "check model and url in [agents.{agent}]",
}


class TooLong(Exception):
    """An answer of more bytes than any reply has."""


def told(error: Exception, agent: str, table: AgentTable) -> AgentError:
    """The error as one that tells what to do; its words are the server's, without any key."""
    if isinstance(error, ImportError):
        return AgentError(f"{agent}: a package is missing that {table.model} needs: {error}")
    chain = list(_chain(error))
    trouble, status = _trouble(chain)
    words = next((str(e) for e in chain if isinstance(e, TooLong)), str(error))
    words = _PREFIX.sub("", words.partition("Traceback (most recent")[0])
    words = words.partition(" Handle with `")[0]
    words = one_line(Secrets.of_agent(table).redacted(words), _MOST_WORDS).rstrip(". ")
    code = f" (HTTP {status})" if status else ""
    kind = "the call failed" if trouble is Trouble.BROKEN else trouble.value
    step = _NEXT[trouble].format(agent=agent)
    said = words or type(error).__name__
    reason = f"{agent}: {where(table)}: {kind}{code}: {said}; {step}"
    return AgentError(reason, trouble, wait=_asked_wait(chain))


def where(table: AgentTable) -> str:
    """The server, in words: its host and port, without what else an address may hold."""
    if table.url is None:
        return f"the provider of {table.model}"
    parts = urlsplit(table.url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _asked_wait(chain: Sequence[BaseException]) -> float:
    """Seconds until the time that the server's `retry-after` names (RFC 9110, 10.2.3): as a number,
    or as a date. 0 where it says nothing that can be understood."""
    import httpx

    answers = [e.response for e in chain if isinstance(e, httpx.HTTPStatusError)]
    said = answers[-1].headers.get("retry-after", "") if answers else ""
    if said.isdecimal() and len(said) < 10:
        return float(said)
    try:
        return (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # no date; one without a zone
        return 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, innermost last; LiteLLM wraps those of other libraries."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _trouble(chain: list[BaseException]) -> tuple[Trouble, int | None]:
    """What it is, and the HTTP status that the server sent, if it sent any."""
    import httpx
    import litellm

    words = " ".join(str(error) for error in chain)
    answers = [e.response.status_code for e in chain if isinstance(e, httpx.HTTPStatusError)]
    status = answers[-1] if answers else None
    if any(isinstance(e, litellm.ContextWindowExceededError) for e in chain):
        return Trouble.LIMIT, status
    if status is not None:
        if _PAID_UP.search(words) and status in (400, 403, 429):
            return Trouble.CREDIT, status
        return _BY_STATUS.get(status, Trouble.OVERLOAD if status >= 500 else Trouble.BROKEN), status
    if any(isinstance(e, TooLong) for e in chain):
        return Trouble.BROKEN, None
    if any(isinstance(e, httpx.TransportError | OSError) for e in chain):
        return Trouble.NETWORK, None
    if any(isinstance(e, litellm.AuthenticationError) for e in chain):
        return Trouble.SIGN_IN, None
    return Trouble.BROKEN, None
