"""Pictures of scores, of errors and of trainings."""
