"""One call of a model through LiteLLM: what may be spent on it, what it said, and at what price.

LiteLLM takes seconds to import, so that happens in the thread that makes the call, and only there.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from overnight.agents.llm.keys import key_of
from overnight.agents.llm.litellm_setup import Library, litellm_library
from overnight.agents.llm.troubles import told, where
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from overnight.core.usage import FREE, UNLIMITED, Allowance, Usage
from overnight.stage.secrets import Secrets

T = TypeVar("T")
_LOOK_SECONDS = 0.2
"""How often a waiting call looks whether it shall stop."""
_CONNECT_SECONDS = 30.0
_MOST_OUT = 32_000
"""Tokens that are asked for at most."""
_LEAST_OUT = 200
"""Fewer tokens hold no change."""
_CACHE_WRITE = 1.25
"""What a token costs that a provider puts into its cache, in tokens."""
_HANDED_A_CLIENT = ("anthropic", "deepseek", "gemini", "groq", "hosted_vllm", "mistral")
"""Providers whose calls take an HTTP client; those of OpenAI's own library take a global one."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    """system, user or assistant."""
    parts: tuple[str, ...]
    """Its text. All but the last stay as they are for longer: a provider that must be told what to
    cache is told there."""

    @property
    def text(self) -> str:
        return "".join(self.parts)


@dataclass(frozen=True)
class Reply:
    """What a model said."""

    text: str
    usage: Usage
    cut: bool
    """Whether it ended for lack of tokens."""


@dataclass(frozen=True)
class Model:
    """The model of a table [agents.NAME]."""

    agent: str
    """NAME."""
    table: AgentTable
    left: Allowance = UNLIMITED
    """What the campaign leaves for this proposal."""

    @property
    def seconds(self) -> float:
        """What a proposal may take."""
        return self.table.within(self.left).timeout

    def prepare(self, stopping: threading.Event) -> bool:
        """Import LiteLLM, which takes seconds that are not the model's; False when `stopping` was
        set meanwhile. Raises AgentError when it cannot be imported."""
        return self._done(litellm_library, stopping) is not None

    def ask(
        self,
        messages: Sequence[Message],
        spent: Usage,
        deadline: float,
        stopping: threading.Event,
    ) -> Reply | None:
        """Its reply; None when `stopping` was set meanwhile. `spent` is what this proposal has used
        already, `deadline` its end in time.monotonic(). Raises AgentError."""
        call = _Call(self.agent, self.table, self.left, tuple(messages), spent, deadline)
        return self._done(call.reply, stopping, deadline)

    def _done(
        self, work: Callable[[], T], stopping: threading.Event, deadline: float = math.inf
    ) -> T | None:
        """What the work returns, which is done in a thread. One that is given up goes on until the
        server says something, or nothing for too long; it touches nothing but its own memory, and
        ends with the process."""
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(work())
            except AgentError as error:
                future.set_exception(error)
            except Exception as error:  # whatever a library raises for what a server sent
                future.set_exception(told(error, self.agent, self.table))

        threading.Thread(target=do, name="model", daemon=True).start()
        while wait([future], _LOOK_SECONDS).not_done:
            if stopping.is_set():
                return None
            if time.monotonic() > deadline:
                raise AgentError(
                    f"{self.agent}: {self.table.model} did not answer within the "
                    f"{round(self.seconds, 1):g} s of a proposal; raise timeout in "
                    f"[agents.{self.agent}], or look at {where(self.table)}",
                    Trouble.HUNG,
                )
        return future.result()


@dataclass(frozen=True)
class _Call:
    agent: str
    table: AgentTable
    left: Allowance
    messages: tuple[Message, ...]
    spent: Usage
    deadline: float

    def reply(self) -> Reply:
        """Make the call."""
        try:
            most = self._most_out()
        except AgentError as error:
            error.usage = FREE  # nothing was sent
            raise
        response = self._lite.completion(
            model=self.table.model,
            messages=[self._as_sent(message) for message in self.messages],
            base_url=self.table.url,
            api_key=key_of(self.table),
            timeout=self._timeout(),
            num_retries=0,
            max_retries=0,
            client=self._client(),
            **({} if most is None else {"max_tokens": most}),
        )
        return self._read(response.model_dump(), response._hidden_params.get("response_cost"))

    def _read(self, document: object, dollars: object) -> Reply:
        try:
            answer = _Answer.model_validate(document)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise AgentError(
                f"{self.agent}: the answer of {where(self.table)} is no chat completion: {place} "
                "is not as expected; is it the right url?"
            ) from None  # it quotes the answer
        choice, counted = answer.choices[0], answer.usage or _Counted()
        known = isinstance(dollars, float | int) and (dollars > 0 or bool(self._entry))
        usage = Usage(
            counted.prompt_tokens or None,
            counted.prompt_tokens_details.cached_tokens if counted.prompt_tokens_details else None,
            counted.completion_tokens or None,
            float(dollars) if isinstance(dollars, float | int) and known else None,
        )
        text = Secrets.of_agent(self.table).redacted(choice.message.content or "")
        return Reply(text, usage, choice.finish_reason == "length")

    def _as_sent(self, message: Message) -> dict[str, object]:
        """With marks for the cache where the provider wants to be told."""
        if self._provider != "anthropic" and "claude" not in self._name.lower():
            return {"role": message.role, "content": message.text}
        mark: dict[str, object] = {"cache_control": {"type": "ephemeral"}}
        parts: list[dict[str, object]] = [{"type": "text", "text": p} for p in message.parts]
        return {"role": message.role, "content": [*({**p, **mark} for p in parts[:-1]), parts[-1]]}

    def _timeout(self) -> object:
        import httpx

        # A little more than there is: whoever waits for this thread is the one to tell.
        left = max(self.deadline - time.monotonic(), 0.0) + 1
        return httpx.Timeout(left, connect=min(left, _CONNECT_SECONDS))

    def _client(self) -> object:
        if self._provider not in _HANDED_A_CLIENT:
            return None
        return self._lite.HTTPHandler(client=self._lite.client_session)

    # -- what may be spent

    def _most_out(self) -> int | None:
        """Tokens that the reply may have; None: as many as the server wants. Raises AgentError when
        the prompt is too long, or leaves no room for a reply within the limits."""
        window, longest = (self._limit(key) for key in ("max_input_tokens", "max_output_tokens"))
        rooms = [min(longest, _MOST_OUT)] if longest else []
        own = Allowance(self.table.dollars, self.table.tokens)
        if window or own != UNLIMITED or replace(self.left, seconds=None) != UNLIMITED:
            prompt = self._prompt_tokens()
            if window and prompt > window:
                raise self._does_not_fit(prompt, window)
            for bounds in (own, self.left):
                rooms += [*self._room_in_tokens(prompt, bounds)]
                rooms += [*self._room_in_dollars(prompt, bounds)]
        return min(rooms) if rooms else (_MOST_OUT if self._provider == "anthropic" else None)

    def _room_in_tokens(self, prompt: int, bounds: Allowance) -> Iterator[int]:
        if (limit := bounds.tokens) is not None:
            used = (self.spent.tokens_in or 0) + (self.spent.tokens_out or 0)
            room = limit - used - prompt
            if room < _LEAST_OUT:
                words = f"{used:,} are used and the prompt has {prompt:,}"
                raise self._used_up(bounds, f"tokens = {limit:,}", words)
            yield room

    def _room_in_dollars(self, prompt: int, bounds: Allowance) -> Iterator[int]:
        if (limit := bounds.dollars) is not None and self._entry:
            reading, writing = self._prices(prompt)
            left = limit - (self.spent.dollars or 0.0) - reading
            room = int(left / writing) if writing else _MOST_OUT
            if left < 0 or room < _LEAST_OUT:
                raise self._used_up(
                    bounds,
                    f"dollars = {limit:.3g}",
                    f"{self.spent.dollars or 0.0:.3g} are used, the prompt costs up to "
                    f"{reading:.3g} and 1,000 tokens of a reply {1000 * writing:.3g}",
                )
            yield room

    def _used_up(self, bounds: Allowance, limit: str, words: str) -> AgentError:
        if bounds is self.left:
            words = f"{self.agent}: the campaign leaves {limit}, no room for a reply: {words}"
            return AgentError(words, Trouble.SPENT)
        return AgentError(
            f"{self.agent}: {limit} of a proposal leaves no room for a reply: {words}; raise it in "
            f"[agents.{self.agent}]",
            Trouble.LIMIT,
        )

    def _does_not_fit(self, prompt: int, window: int) -> AgentError:
        return AgentError(
            f"{self.agent}: the editable files and the brief have about {prompt:,} tokens, and "
            f"{self.table.model} reads at most {window:,}; name fewer or smaller files in "
            "`editable`, or choose a model that reads more",
            Trouble.LIMIT,
        )

    def _prices(self, prompt: int) -> tuple[float, float]:
        """Dollars that the prompt costs at most, and each token of the reply."""
        reading, writing = self._lite.cost_per_token(
            model=self._name,
            custom_llm_provider=self._provider,
            prompt_tokens=prompt,
            completion_tokens=1,
        )
        return float(reading) * _CACHE_WRITE, float(writing)

    def _prompt_tokens(self) -> int:
        """By the model's own tokenizer where LiteLLM has it, else by one that is about right."""
        # Other tokenizers than these, which come along, would be downloaded.
        self._lite.disable_hf_tokenizer_download = self._provider not in ("anthropic", "deepseek")
        text = "\n".join(message.text for message in self.messages)
        return int(self._lite.token_counter(model=self._name, text=text))

    def _limit(self, key: str) -> int | None:
        found = self._entry.get(key)
        return int(found) if isinstance(found, int) and found > 0 else None

    # -- what LiteLLM knows

    @cached_property
    def _lite(self) -> Library:
        return litellm_library()

    @cached_property
    def _names(self) -> tuple[str, str]:
        name, provider, *_ = self._lite.get_llm_provider(self.table.model, api_base=self.table.url)
        return str(name), str(provider)

    @property
    def _name(self) -> str:
        return self._names[0]

    @property
    def _provider(self) -> str:
        return self._names[1]

    @cached_property
    def _entry(self) -> Mapping[str, object]:
        """The model's window and prices. Not by a function of the library: for some providers
        those ask the server."""
        known = self._lite.model_cost
        return known.get(self.table.model or "") or known.get(self._name) or {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 10**12 else None


_Count = Annotated[int | None, BeforeValidator(_count)]
"""A number that no tokens can have is not known: a change is worth more than its count."""


class _Details(BaseModel):
    cached_tokens: _Count = None


class _Counted(BaseModel):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    prompt_tokens_details: _Details | None = None


class _Said(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


class _Answer(BaseModel):
    """A chat completion, as far as it is read."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Counted | None = None
