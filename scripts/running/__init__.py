"""Running a TorchServe: start, readiness, draining, stop, and what a restart brings back."""
