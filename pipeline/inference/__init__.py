"""Photos in, faces with classes out."""
