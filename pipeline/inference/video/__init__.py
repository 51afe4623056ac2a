"""Clips, streams and cameras: frames, persons followed through them, films and alarms."""
