"""Confines a process; one file per back end. May import core and arena."""
