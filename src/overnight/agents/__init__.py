"""Who proposes changes: models, programs, the tuner, people. It may import insights and what lies
below it."""
