"""A scripted model server that speaks four wire formats, and the programs that are tested on it."""
