"""Running stages on Ray: what a stage is, pools of workers and where they go, schedule, attempts, progress, metrics."""
