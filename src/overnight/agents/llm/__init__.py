"""A model's API as an agent."""
