"""How a run scales, without GPUs: the real graph with stages that sleep, and what planning large manifests costs."""
