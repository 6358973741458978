"""Lines that are entered word by word, and what a session learns from them."""
