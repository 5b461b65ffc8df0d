"""Quota rules: how many samples of every class or group to keep. One file a rule; see `base`."""
