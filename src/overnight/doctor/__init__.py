"""Red-teams an arena before the night. May import campaign and the rooms below it."""
