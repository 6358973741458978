"""The symbols of a source that the symbols of an answer looked at."""
