"""Near-duplicates, groups that belong together, and the split that keeps them together."""
