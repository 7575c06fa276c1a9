"""Git: checkouts, candidates, refs, the branch. May import sandbox and the rooms below it."""
