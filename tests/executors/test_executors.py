"""The executors that come with overnight pass the executors' contract."""

from __future__ import annotations

from contracts.executor import ExecutorContract
from overnight.arena.arena import Arena
from overnight.executors.base import Executor
from overnight.executors.local import LocalExecutor
from overnight.repo.workspace import Workspace


class TestLocalExecutor(ExecutorContract):
    def make(self, arena: Arena, workspace: Workspace, slots: int) -> Executor:
        return LocalExecutor(arena, workspace, slots)
