"""Where measurements happen."""
