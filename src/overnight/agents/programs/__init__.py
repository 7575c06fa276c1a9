"""Agent programs, as they are installed: claude, codex and others."""
