"""The loop and its parts, from opening a campaign to its end. May import briefing and below."""
