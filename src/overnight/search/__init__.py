"""Where to improve next, and which agent to ask. May import agents and lower rooms."""
