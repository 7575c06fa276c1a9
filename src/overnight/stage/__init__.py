"""Runs one command on the clock, metered from outside and ended whole. It may import record and
what lies below it."""
