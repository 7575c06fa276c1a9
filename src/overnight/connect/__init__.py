"""For an agent or a user who makes the changes: `try`, tools, MCP, the skill. It may import views
and what lies below it."""
