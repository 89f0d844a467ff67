"""jaxnas: training-free neural architecture search on JAX."""
