"""One call of a model through LiteLLM: its limits, its reply, its price.

LiteLLM takes seconds to import, so it is imported in the thread that makes the call.
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

from overnight.agents.base import key_of
from overnight.agents.llm.litellm_setup import Library, litellm_library
from overnight.agents.llm.troubles import agent_error, server_name
from overnight.arena.settings import AgentTable
from overnight.core.errors import AgentError, Trouble
from overnight.core.usage import FREE, UNLIMITED, Allowance, Usage
from overnight.stage.secrets import Secrets

T = TypeVar("T")
_LOOK_SECONDS = 0.2
"""Between two looks at whether a waiting call is to stop."""
_CONNECT_SECONDS = 30.0
_MOST_OUT = 32_000
"""Tokens of a reply, where the model allows more."""
_LEAST_OUT = 200
"""Tokens; no change fits into fewer."""
_CACHE_WRITE = 1.25
"""Price of a prompt token that is written to the provider's cache, relative to its price else."""
_TAKE_A_CLIENT = ("anthropic", "deepseek", "gemini", "groq", "hosted_vllm", "mistral")
"""Providers whose calls take an HTTP client; calls through OpenAI's library use a global one."""


@dataclass(frozen=True)
class Message:
    """One message to the model."""

    role: str
    """system, user or assistant."""
    parts: tuple[str, ...]
    """Its text. All parts but the last are the same for many prompts; the end of each is marked for
    providers that cache only what is marked."""

    @property
    def text(self) -> str:
        return "".join(self.parts)


@dataclass(frozen=True)
class Reply:
    """What a model answered."""

    text: str
    usage: Usage
    cut: bool
    """Whether it was cut off at the limit of tokens."""


@dataclass(frozen=True)
class Model:
    """The model of a table [agents.NAME]."""

    agent: str
    """NAME."""
    table: AgentTable
    allowance: Allowance = UNLIMITED
    """What the campaign has left for this proposal."""

    @property
    def seconds(self) -> float:
        """The most wall-clock seconds of a proposal."""
        return self.table.within(self.allowance).timeout

    def prepare(self, stopping: threading.Event) -> bool:
        """Import LiteLLM before the model's time begins; False when `stopping` was set meanwhile.
        Raises AgentError when it cannot be imported."""
        return self._in_thread(litellm_library, stopping) is not None

    def ask(
        self,
        messages: Sequence[Message],
        spent: Usage,
        deadline: float,
        stopping: threading.Event,
    ) -> Reply | None:
        """The model's reply; None when `stopping` was set meanwhile. `spent`: what this proposal
        has used so far; `deadline`: its end in time.monotonic(). Raises AgentError."""
        call = _Call(self.agent, self.table, self.allowance, tuple(messages), spent, deadline)
        return self._in_thread(call.reply, stopping, deadline)

    def _in_thread(
        self, work: Callable[[], T], stopping: threading.Event, deadline: float = math.inf
    ) -> T | None:
        """The result of some work in a thread; None when `stopping` was set meanwhile. A thread
        that is given up runs on until the server answers or the connection times out; it touches
        only its own memory, and ends with the process."""
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(self._translated(work))
            except BaseException as error:  # else the waiting thread would wait for its time limit
                future.set_exception(error)

        threading.Thread(target=do, name="model", daemon=True).start()
        while wait([future], _LOOK_SECONDS).not_done:
            if stopping.is_set():
                return None
            if time.monotonic() > deadline:
                raise AgentError(
                    f"{self.agent}: {self.table.model} did not answer within the "
                    f"{round(self.seconds, 1):g} s of a proposal; raise timeout in "
                    f"[agents.{self.agent}], or check {server_name(self.table)}",
                    Trouble.HUNG,
                )
        return future.result()

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except AgentError:
            raise
        except Exception as error:  # LiteLLM may raise anything for what a server sent
            raise agent_error(error, self.agent, self.table) from error


@dataclass(frozen=True)
class _Call:
    agent: str
    table: AgentTable
    allowance: Allowance
    messages: tuple[Message, ...]
    spent: Usage
    deadline: float

    def reply(self) -> Reply:
        """Make the call."""
        try:
            most = self._most_out()
        except AgentError as error:
            error.usage = FREE  # no call was made
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
            path = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise AgentError(
                f"{self.agent}: the answer of {server_name(self.table)} is not a chat completion: "
                f"{path} is missing or has the wrong type; check url"
            ) from None  # the cause would quote the answer
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
        """As LiteLLM takes it, with marks for providers that cache only what is marked."""
        if self._provider != "anthropic" and "claude" not in self._name.lower():
            return {"role": message.role, "content": message.text}
        mark: dict[str, object] = {"cache_control": {"type": "ephemeral"}}
        parts: list[dict[str, object]] = [{"type": "text", "text": p} for p in message.parts]
        return {"role": message.role, "content": [*({**p, **mark} for p in parts[:-1]), parts[-1]]}

    def _timeout(self) -> object:
        import httpx

        # One second more than is left: the thread that waits for this one reports the deadline.
        seconds = max(self.deadline - time.monotonic(), 0.0) + 1
        return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))

    def _client(self) -> object:
        if self._provider not in _TAKE_A_CLIENT:
            return None
        return self._lite.HTTPHandler(client=self._lite.client_session)

    # -- its limits

    def _most_out(self) -> int | None:
        """The most tokens of the reply; None: the server's own limit. Raises AgentError when the
        prompt is too long, or leaves no room for a reply within the limits."""
        window, longest = (self._limit(key) for key in ("max_input_tokens", "max_output_tokens"))
        rooms = [min(longest, _MOST_OUT)] if longest else []
        own = Allowance(self.table.dollars, self.table.tokens)
        if window or own != UNLIMITED or replace(self.allowance, seconds=None) != UNLIMITED:
            prompt = self._prompt_tokens()
            if window and prompt > window:
                raise self._does_not_fit(prompt, window)
            for limits in (own, self.allowance):
                rooms += [*self._room_in_tokens(prompt, limits)]
                rooms += [*self._room_in_dollars(prompt, limits)]
        return min(rooms) if rooms else (_MOST_OUT if self._provider == "anthropic" else None)

    def _room_in_tokens(self, prompt: int, limits: Allowance) -> Iterator[int]:
        if (limit := limits.tokens) is not None:
            used = (self.spent.tokens_in or 0) + (self.spent.tokens_out or 0)
            room = limit - used - prompt
            if room < _LEAST_OUT:
                why = f"{used:,} are used and the prompt has {prompt:,}"
                raise self._no_room(limits, f"tokens = {limit:,}", why)
            yield room

    def _room_in_dollars(self, prompt: int, limits: Allowance) -> Iterator[int]:
        if (limit := limits.dollars) is not None and self._entry:
            price_of_prompt, price_out = self._prices(prompt)
            left = limit - (self.spent.dollars or 0.0) - price_of_prompt
            room = int(left / price_out) if price_out else _MOST_OUT
            if left < 0 or room < _LEAST_OUT:
                raise self._no_room(
                    limits,
                    f"dollars = {limit:.3g}",
                    f"{self.spent.dollars or 0.0:.3g} are used, the prompt costs up to "
                    f"{price_of_prompt:.3g} and 1,000 tokens of a reply {1000 * price_out:.3g}",
                )
            yield room

    def _no_room(self, limits: Allowance, limit: str, why: str) -> AgentError:
        if limits is self.allowance:
            reason = f"{self.agent}: the campaign has {limit} left, too little for a reply: {why}"
            return AgentError(reason, Trouble.SPENT)
        return AgentError(
            f"{self.agent}: {limit} for a proposal is too little for a reply: {why}; raise it in "
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
        """The most dollars that the prompt costs, and the dollars of each token of the reply."""
        price_of_prompt, price_out = self._lite.cost_per_token(
            model=self._name,
            custom_llm_provider=self._provider,
            prompt_tokens=prompt,
            completion_tokens=1,
        )
        return float(price_of_prompt) * _CACHE_WRITE, float(price_out)

    def _prompt_tokens(self) -> int:
        """By the model's own tokenizer where LiteLLM has it, else by a similar one."""
        # LiteLLM comes with the tokenizers of these two; it would download any other.
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
        """The model's context window and prices, from LiteLLM's table: its functions ask the server
        for some providers."""
        known = self._lite.model_cost
        return known.get(self.table.model or "") or known.get(self._name) or {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 10**12 else None


_Count = Annotated[int | None, BeforeValidator(_count)]
"""A number of tokens; an impossible one counts as unknown, and the reply is used all the same."""


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
    """The parts of a chat completion that are used."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Counted | None = None
