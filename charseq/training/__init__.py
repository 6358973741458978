"""data -> trained runs: the training loop, the two tasks, ensembles, distillation, averaging."""
