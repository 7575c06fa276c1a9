"""One summary of a campaign, and its many views. It may import doctor and what lies below it."""
