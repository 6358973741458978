"""Runs on the Hugging Face Hub: addresses, downloads that are verified before use."""
