"""One running TorchServe: process, ports, management, rollout, saved state, readiness, drain, gateway."""
