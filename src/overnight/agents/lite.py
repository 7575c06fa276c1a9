"""LiteLLM, loaded so that it keeps to itself: quiet, and asking nobody but the model."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Protocol

from overnight.agents.troubles import TooLong

_MOST_BYTES = 10_000_000
"""Of an answer. A model's longest reply is a tenth of it."""


class Response(Protocol):
    _hidden_params: Mapping[str, object]

    def model_dump(self) -> object: ...


class Library(Protocol):
    """What is used of LiteLLM; its own types are not checked."""

    model_cost: Mapping[str, Mapping[str, object]]
    client_session: object
    disable_hf_tokenizer_download: bool | None

    def completion(self, **request: object) -> Response: ...
    def get_llm_provider(self, model: str | None, *, api_base: str | None) -> Sequence[object]: ...
    def cost_per_token(self, **request: object) -> tuple[float, float]: ...
    def token_counter(self, *, model: str, text: str) -> int: ...
    def HTTPHandler(self, *, client: object) -> object: ...


@cache
def litellm() -> Library:
    """The library, set up so that it asks nobody for prices, reports to nobody, prints nothing."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    # Said by its types on their way through pydantic, on the terminal.
    warnings.filterwarnings("ignore", message=".*`ReadOnly` qualifier", category=UserWarning)
    import httpx
    import litellm as imported

    imported.suppress_debug_info = True
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # a debug log has whole prompts
    imported.client_session = httpx.Client(
        event_hooks={"response": [_bound]}, follow_redirects=True, timeout=None
    )
    library: Library = imported
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
