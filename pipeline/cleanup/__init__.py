"""Optional clean-up of finished masks, in exports and curated datasets; off by default."""
