"""What others hold on to: a working copy, tools, MCP, the skill. It may import views and what lies
below it."""
