"""arena.toml: read, validated once, and handed on as plain settings. It imports core alone."""
