"""Where jobs run, one executor a file. It may import measure and what lies below it."""
