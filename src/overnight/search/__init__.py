"""Where to improve next, and whom to ask. It may import agents and what lies below it."""
