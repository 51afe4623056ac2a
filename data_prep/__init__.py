"""TriMask, the data: annotations and photos to faces.csv and crops."""
