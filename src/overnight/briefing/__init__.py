"""What an agent is told before an experiment. It may import search and what lies below it."""
