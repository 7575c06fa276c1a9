"""Git: worktrees, candidates, refs, the branch. It may import sandbox and what lies below it."""
