"""Data parallelism on a CPU: several processes that share each batch, and its gradient."""
