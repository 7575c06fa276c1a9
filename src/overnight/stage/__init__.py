"""Runs one command with a time limit and meters, and ends everything it started. May import
record and the rooms below it."""
