"""Keep or discard: pure functions of readings. It may import stage and what lies below it, and
imports core and arena alone."""
