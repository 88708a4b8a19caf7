"""Operating a running TorchServe over its management API."""
