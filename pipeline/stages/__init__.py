"""What Ray Data runs: thin callables around the model. No tensor maths here."""
