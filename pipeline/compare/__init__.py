"""Every system of the field as a recipe, trained and measured on the same photos."""
