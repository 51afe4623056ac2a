"""Masks drawn on bare faces; `portrait.jpg` is NASA's of Eileen Collins, in the public domain."""
