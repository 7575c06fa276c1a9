"""What an agent is told before an experiment. May import search and everything below it."""
