"""One dynamic pruning method a file: which samples each epoch of one training run visits."""
