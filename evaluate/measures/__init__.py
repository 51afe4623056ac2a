"""What is measured, with intervals."""
