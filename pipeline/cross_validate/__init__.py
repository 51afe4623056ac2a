"""Both nets trained and measured fold by fold, so that every photo is judged unseen."""
