"""Where jobs run, one kind a file. It may import measure and what lies below it."""
