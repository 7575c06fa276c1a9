"""Statistics from the record: track records, failures, over-fitting. It may import executors and
what lies below it."""
