"""What everything rests on: records, boxes, photos, files, pages. Imports nothing of ours."""
