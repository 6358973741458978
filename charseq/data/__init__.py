"""Files -> examples -> symbols -> ids -> batches."""
