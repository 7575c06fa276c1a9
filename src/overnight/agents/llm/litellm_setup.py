"""LiteLLM, set up so that it asks nobody for prices, reports to nobody, prints nothing."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Protocol

from overnight.agents.llm.troubles import TooLong
from overnight.core.usage import Usage

_MOST_BYTES = 10_000_000
"""Of an answer. A model's longest reply is a tenth of it."""
_KEYS_KNOWN = ("openai", "anthropic", "gemini")
_KEYS = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"}
"""Theirs: a name of a model without its provider may be of any."""


class _Response(Protocol):
    _hidden_params: Mapping[str, object]

    def model_dump(self) -> object: ...


class Library(Protocol):
    """What is used of LiteLLM; its own types are not checked."""

    model_cost: Mapping[str, Mapping[str, object]]
    client_session: object
    disable_hf_tokenizer_download: bool | None

    def completion(self, **request: object) -> _Response: ...
    def get_llm_provider(self, model: str | None, *, api_base: str | None) -> Sequence[object]: ...
    def cost_per_token(self, **request: object) -> tuple[float, float]: ...
    def token_counter(self, *, model: str, text: str) -> int: ...
    def validate_environment(self, model: str) -> Mapping[str, object]: ...
    def HTTPHandler(self, *, client: object) -> object: ...


@cache
def litellm_library() -> Library:
    """The library. It takes seconds to import."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Said on the terminal by its types, on their way through pydantic: of themselves, and of what a
    # server sends.
    for words in (".*`ReadOnly` qualifier", "Pydantic serializer warnings"):
        warnings.filterwarnings("ignore", message=words, category=UserWarning)
    import httpx
    import litellm

    litellm.suppress_debug_info = True
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # a debug log has whole prompts
    litellm.client_session = httpx.Client(
        event_hooks={"response": [_bound]}, follow_redirects=True, timeout=None
    )
    library: Library = litellm
    return library


def _bound(response: object) -> None:
    """Let an answer end with an error once it is too long."""
    import httpx

    class Bounded(httpx.SyncByteStream):
        def __init__(self, stream: httpx.SyncByteStream) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            room = _MOST_BYTES
            for chunk in self._stream:
                room -= len(chunk)
                if room < 0:
                    raise TooLong(f"its answer has more than {_MOST_BYTES:,} bytes")
                yield chunk

        def close(self) -> None:
            self._stream.close()

    assert isinstance(response, httpx.Response)
    assert isinstance(response.stream, httpx.SyncByteStream)
    response.stream = Bounded(response.stream)


def keys_missing(model: str) -> list[str]:
    """The variables that its provider's client looks for, where none that would do is set. Only of
    providers whose variables LiteLLM knows in full: of others it knows too few, or asks a server.
    """
    provider, slash, _ = model.partition("/")
    if slash and provider not in _KEYS_KNOWN:
        return []
    found = litellm_library().validate_environment(model)["missing_keys"]
    missing = [str(key) for key in found] if isinstance(found, list) else []
    return missing if _KEYS.issuperset(missing) else []


def price_of(model: str, usage: Usage) -> float | None:
    """US dollars that the tokens cost by LiteLLM's table; None where it, or the number of tokens,
    is not known. By the price of short prompts: of a sum it is not known how long each was."""
    if usage.tokens_in is None or usage.tokens_out is None or find_spec("litellm") is None:
        return None
    known = litellm_library().model_cost
    entry = known.get(model) or known.get(model.partition("/")[2]) or {}
    reading, writing = (entry.get(f"{side}_cost_per_token") for side in ("input", "output"))
    if not isinstance(reading, float | int) or not isinstance(writing, float | int):
        return None
    cached = usage.tokens_cached or 0
    again = entry.get("cache_read_input_token_cost")
    less = cached * (reading - again) if isinstance(again, float | int) else 0.0
    return usage.tokens_in * reading - less + usage.tokens_out * writing
