"""How a run scales: loads, a model of the two pools, the real graph with sleeping stages, and the cost of planning."""
