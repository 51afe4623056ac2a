"""What a training is told by, and what is kept of it: recipes, run folders, logs."""
