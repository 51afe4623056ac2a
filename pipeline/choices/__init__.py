"""What each choice of a recipe is worth: the same short trainings with one thing changed."""
