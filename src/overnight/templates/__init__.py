"""Ready arenas, a folder each, and what copies them. It may import agents and lower rooms."""
