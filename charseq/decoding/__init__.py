"""The networks forward only, and the searches over their outputs."""
