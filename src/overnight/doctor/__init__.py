"""Red-teams an arena before the night. It may import campaign and what lies below it."""
