"""Agent programs that are installed on this machine: claude, codex, any command."""
