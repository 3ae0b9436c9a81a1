"""Other methods for the same problem, in plain jnp, to compare the crossover with."""
