"""How a process is confined, one back end a file."""
