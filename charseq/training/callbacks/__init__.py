"""Callbacks of a training: the protocol, and adapters for TensorBoard and Weights & Biases."""
