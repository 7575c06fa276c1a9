"""Who proposes changes: models, programs, the tuner, you. May import insights and everything below
it."""
