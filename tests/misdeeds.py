"""A script for several agents at once that misbehave in every way, and what each step deserves."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from models.ask import Ask
from models.change import reply, said, searched
from models.reply import Drop, Garble, Hang, Refuse, Reply, Say, Usage

BEST = 3.0
"""The toy's best X."""
KEEP, DISCARD, CRASH = "keep", "discard", "crash"
TIMEOUT, INVALID, NOTHING = "timeout", "invalid", ""
"""Verdicts; NOTHING: no experiment at all."""


class World:
    """What the script knows: how far the search is, and what it has said to whom."""

    def __init__(self) -> None:
        self.distance = 7.0
        """Of the best X so far."""
        self.count = 0
        self.worst = "X=10\n"
        """A program that was measured and discarded."""
        self.handed: dict[str, list[Usage]] = defaultdict(list)
        """Agent → what each of its answers reported."""

    def usage(self, agent: str) -> Usage:
        """A number of tokens that no other answer has."""
        used = Usage(1000 + 10 * self.count, 50 + self.count, 800 + self.count)
        self.handed[agent].append(used)
        return used


Text = Callable[[World], str]
"""What value.py is to be."""
Answer = Callable[[World, Ask, str], Reply]
"""From the world, what was asked, and by whom."""


@dataclass(frozen=True)
class Step:
    """One turn of an agent."""

    name: str
    answers: Sequence[Answer]
    """One for each call."""
    verdict: str
    reason: str = ""
    """A pattern of the reason."""
    told: str = ""
    """A pattern of what the next brief says of it."""
    dropped: frozenset[str] = frozenset()


@dataclass
class Script:
    """Agent → its steps, one a turn; the last two again and again."""

    steps: Mapping[str, Sequence[Step]]
    models: Mapping[str, str]
    """Model → agent."""
    world: World = field(default_factory=World)
    taken: dict[str, list[Step]] = field(default_factory=lambda: defaultdict(list))
    """Agent → the steps that it has begun."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._left: dict[str, list[Answer]] = defaultdict(list)

    def __call__(self, ask: Ask) -> Reply:
        agent = self.models[ask.model]
        with self.lock:
            if not self._left[agent]:
                steps, turn = self.steps[agent], len(self.taken[agent])
                spare = len(steps) - 2 + (turn - len(steps)) % 2
                step = steps[turn if turn < len(steps) else spare]
                self.taken[agent].append(step)
                self._left[agent] = list(step.answers)
            self.world.count += 1
            return self._left[agent].pop(0)(self.world, ask, agent)


# -- what value.py is to be


def better(world: World) -> str:
    """Better than everything before it."""
    world.distance *= 0.985
    return f"X={BEST + world.distance:.6f}\n"


def worse(world: World) -> str:
    world.worst = f"X={BEST + world.distance + 1 + world.count / 1000:.6f}\n"
    return world.worst


def again(world: World) -> str:
    """What was measured before, in other words."""
    return f"# in other words\n{world.worst.strip()}  # the same\n"


def broken(world: World) -> str:
    return f"X={world.count}; exit 3\n"


def endless(world: World) -> str:
    return f"X={world.count}; while :; do :; done\n"


def silent(world: World) -> str:
    return f"Y={world.count}\n"


def odd(world: World) -> str:
    return f"X=nan # {world.count}\nY={world.count}\n"


def none(world: World) -> str:
    return ""


# -- what a model says


def whole(text: Text) -> Answer:
    """The file in full."""
    return lambda world, ask, agent: Say(reply(text(world).strip("\n")), world.usage(agent))


def patch(text: Text) -> Answer:
    """The line that is there, replaced."""

    def answer(world: World, ask: Ask, agent: str) -> Reply:
        there = re.search(r"===== value\.py\\n(X=[^\\]*)\\n", json.dumps(ask.body))
        assert there, "the file is not shown"
        return Say(said(searched(there[1], text(world).strip())), world.usage(agent))

    return answer


def words(text: str) -> Answer:
    return lambda world, ask, agent: Say(text, world.usage(agent))


def fault(answer: Reply) -> Answer:
    return lambda world, ask, agent: answer


def deed(name: str, text: Text = none) -> Answer:
    """For rogue.py."""

    def answer(world: World, ask: Ask, agent: str) -> Reply:
        return Say(json.dumps({"deed": name, "text": text(world)}))

    return answer


QUESTION = words("Which of the two would you like me to change first?")
NO_PATCH = words(said(searched("X=987654", "X=4")))
CHEAT = words(said("score.py\n<<<<<<< WHOLE\nprint('{\"loss\": 0}')\n>>>>>>> WHOLE"))
CUT = words("TITLE: four\nHYPOTHESIS: it may help\nEXPECTED: 1\n\nvalue.py\n<<<<<<< SEARCH\nX")
EXPIRED = fault(Refuse(401))
TRACEBACK = 'Traceback (most recent call last):\n  File "serve.py", line 7\nMemoryError\n'
STRAY = frozenset({"stray.txt"})
"""Of what is not editable: what is there is read-only in most sandboxes."""

# -- the steps


def candidates(change: Callable[[Text], Answer]) -> list[Step]:
    """What becomes of candidates, whoever proposes them."""
    return [
        Step("a crash", [change(broken)], CRASH, "exit code 3", r"crash \(#.*exit code 3"),
        Step("a loop", [change(endless)], TIMEOUT, "processor time", r"timeout \(#"),
        Step("no number", [change(silent)], CRASH, "score|referee", r"crash \(#"),
        Step("not a number", [change(odd)], INVALID, "not a finite number", "not a finite number"),
        Step("a twin", [change(again)], INVALID, r"the same program as #\d+", "the same program"),
    ]


def honest(change: Callable[[Text], Answer]) -> tuple[Step, Step]:
    return Step("better", [change(better)], KEEP), Step("worse", [change(worse)], DISCARD)


_CHANGED_NOTHING = "nothing editable was changed"
_TOLD_WORDS = "both replies were unusable"

MODEL = [
    Step("a patch", [patch(better)], KEEP),
    *candidates(whole),
    Step("a question, then a change", [QUESTION, whole(better)], KEEP),
    Step("two questions", [QUESTION, QUESTION], INVALID, "both replies.*`TITLE:`", _TOLD_WORDS),
    Step("a failed patch, then a change", [NO_PATCH, patch(better)], KEEP),
    Step("two failed patches", [NO_PATCH, NO_PATCH], INVALID, "does not occur", "does not occur"),
    Step("a failed parse", [CUT, CUT], INVALID, "has no last line", "has no last line"),
    Step("a cheat", [CHEAT, CHEAT], INVALID, "score.py is not editable", "score.py is not edit"),
    Step("rate limit", [fault(Refuse(429, {"retry-after": "600"}))], NOTHING, "rate limit"),
    Step("overload", [fault(Refuse(503))], NOTHING, "overload"),
    Step("network loss", [fault(Drop())], NOTHING, "network"),
    Step("a fault of theirs", [fault(Refuse(500, body=TRACEBACK))], NOTHING, "overload"),
    Step("words, then a rate limit", [QUESTION, fault(Refuse(429))], INVALID, "in the second call"),
    Step("garbled", [fault(Garble())], INVALID, "the call failed", "the call failed"),
    Step("refused", [fault(Refuse(400))], INVALID, "HTTP 400", "HTTP 400"),
]
SIGNED_IN = [
    *(step for _ in range(3) for step in honest(whole)),
    Step("a question, then a change", [QUESTION, whole(better)], KEEP),
    Step("expired sign-in", [EXPIRED], INVALID, "HTTP 401", "sign-in"),
    Step("asked after that", [EXPIRED], "never"),
]
MUTE = [Step("a hung server", [fault(Hang(600))], INVALID, "did not answer within the 2 s", "2 s")]
SLEEPER = Step("a hung agent", [], INVALID, "still working after 1 s and was", "still working")


def _kept(name: str, dropped: frozenset[str] = frozenset()) -> Step:
    told = rf"dropped, not editable: .*{min(dropped)}" if dropped else ""
    return Step(name, [deed(name, better)], KEEP, told=told, dropped=dropped)


def _refused(name: str, reason: str, told: str, dropped: frozenset[str] = frozenset()) -> Step:
    return Step(name, [deed(name)], INVALID, reason, told, dropped)


def _failed(answer: Reply, words: str) -> Step:
    reason = rf"program ended with exit code 1, .*{words}"
    return Step(f"{words} told to a program", [fault(answer)], INVALID, reason, words)


PROGRAM = [
    *candidates(lambda text: deed("write", text)),
    _refused("nothing", rf"{_CHANGED_NOTHING}.*`All is well", "All is well as it is"),
    _refused("ask", rf"{_CHANGED_NOTHING}.*Shall I set X to 4", "Shall I set X to 4"),
    _refused("meddle", _CHANGED_NOTHING, "dropped, not editable: .*stray.txt", STRAY),
    _kept("meddle", STRAY),
    _kept("commit", frozenset({"hooked"})),
    _kept("lock"),
    _refused("bloat", "value.py has 52,4.* bytes, more than", "bytes, more than"),
    _kept("litter", frozenset({"weights.bin", "dump.txt"})),
    _kept("flood"),
    _refused("link", "a link that leads out", "a link that leads out"),
    _refused("fifo", "value.py is a FIFO", "is a FIFO"),
    _refused("folder", "value.py is not a regular file", "is not a regular file"),
    Step(
        "crash", [deed("crash", broken)], INVALID, "RuntimeError: I have lost", "I have lost my way"
    ),
    _kept("stay"),
    _kept("boast"),
    _failed(Refuse(429), "HTTP Error 429"),
    _failed(Garble(), "JSONDecodeError"),
    _failed(Drop(), "Remote end closed"),
]


DELETED = Step("delete", [deed("delete")], CRASH, "exit code 2", r"crash \(#.*value.py: No such")
DELETED_AGAIN = Step(
    "delete", [deed("delete")], INVALID, r"same program as #\d+, which crashed: exit"
)


def twice(steps: Sequence[Step], change: Callable[[Text], Answer]) -> list[Step]:
    """All steps two times, each time after something honest; honest ones at the end."""
    good, bad = honest(change)
    found = [bad]
    for n, step in enumerate([*steps, *steps]):
        found += [step, good] if n % 2 else [step]
    return [*found, good, bad]
