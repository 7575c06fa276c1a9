"""Who proposes changes."""
