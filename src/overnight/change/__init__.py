"""What a change is, without running it: chosen seeds, simplicity, digests. It may import judge and
what lies below it."""
