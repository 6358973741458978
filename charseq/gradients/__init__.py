"""The worked sheets: gradients derived by hand, checked and drawn."""
