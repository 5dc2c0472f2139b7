"""Several mask datasets of the same videos and expressions become one, by a vote."""
