"""What an evaluation leaves for a person and for a script."""
