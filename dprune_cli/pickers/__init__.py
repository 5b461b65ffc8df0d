"""Pickers: which samples of one class or group to keep. One file a picker; see `base`."""
