"""Confines a process, one back end a file. It may import core and arena."""
