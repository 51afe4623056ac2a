"""Annotations and photos to faces.csv and crops: read, audit, group, split, crop, blur, balance."""
