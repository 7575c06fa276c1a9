"""Keep or discard: pure functions of readings. May import `stage` and the rooms below it; imports
only `core` and `arena`."""
