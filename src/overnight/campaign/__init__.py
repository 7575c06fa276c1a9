"""The loop and its parts: from opening a campaign to its end. It may import briefing and what lies
below it."""
