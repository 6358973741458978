"""A page and JSON endpoints for trained models: ``charseq serve``."""
