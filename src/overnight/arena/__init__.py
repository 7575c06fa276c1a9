"""arena.toml: read, validated once, then plain settings. It imports core alone."""
