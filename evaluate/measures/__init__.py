"""What is counted, from matched boxes to intervals."""
