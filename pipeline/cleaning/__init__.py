"""Finding wrong labels, and what mending them does."""
