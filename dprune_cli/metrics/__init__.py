"""Numbers about predictions, rankings and selections: pure functions of NumPy arrays."""
