"""LiteLLM, set up to download no prices, to report to nobody and to print nothing."""

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
"""Of an answer; a model's longest reply is a tenth of this."""
_KEYS_KNOWN = ("openai", "anthropic", "gemini")
_KEYS = {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"}
"""Their variables. A model's name without a provider may belong to any of them."""


class _Response(Protocol):
    _hidden_params: Mapping[str, object]

    def model_dump(self) -> object: ...


class Library(Protocol):
    """The parts of LiteLLM that are used; its own types are not checked."""

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
    """The library, which takes seconds to import."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Pydantic prints these on the terminal, about LiteLLM's types and about what a server sends.
    for warning in (".*`ReadOnly` qualifier", "Pydantic serializer warnings"):
        warnings.filterwarnings("ignore", message=warning, category=UserWarning)
    import httpx
    import litellm

    litellm.suppress_debug_info = True
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # debug logs hold whole prompts
    litellm.client_session = httpx.Client(
        event_hooks={"response": [_bound]}, follow_redirects=True, timeout=None
    )
    library: Library = litellm
    return library


def _bound(response: object) -> None:
    """Make reading an answer fail once it is too long."""
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
    """The variables that may hold the key of the model's provider, where none of them is set. Only
    for providers whose variables LiteLLM knows in full: for others it knows too few, or asks a
    server."""
    provider, slash, _ = model.partition("/")
    if slash and provider not in _KEYS_KNOWN:
        return []
    found = litellm_library().validate_environment(model)["missing_keys"]
    missing = [str(key) for key in found] if isinstance(found, list) else []
    return missing if _KEYS.issuperset(missing) else []


def price_of(model: str, usage: Usage) -> float | None:
    """The price of the tokens in US dollars, by LiteLLM's table; None where the price or the number
    of tokens is unknown. Uses the price of short prompts, because a sum does not tell the length of
    each prompt."""
    if usage.tokens_in is None or usage.tokens_out is None or find_spec("litellm") is None:
        return None
    known = litellm_library().model_cost
    entry = known.get(model) or known.get(model.partition("/")[2]) or {}
    price_in, price_out = (entry.get(f"{side}_cost_per_token") for side in ("input", "output"))
    if not isinstance(price_in, float | int) or not isinstance(price_out, float | int):
        return None
    cached = usage.tokens_cached or 0
    price_cached = entry.get("cache_read_input_token_cost")
    if not isinstance(price_cached, float | int):
        price_cached = price_in
    fresh = usage.tokens_in - cached
    return fresh * price_in + cached * price_cached + usage.tokens_out * price_out
