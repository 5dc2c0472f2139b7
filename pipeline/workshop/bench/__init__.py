"""How fast the model is here, beside the published arrangement, with the same masks."""
