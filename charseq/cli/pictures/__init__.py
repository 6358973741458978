"""Commands and options that draw."""
