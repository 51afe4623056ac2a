"""Train these, judge on those, compare with intervals."""
