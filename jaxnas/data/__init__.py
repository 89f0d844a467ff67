"""Images and minibatches, the tasks of TransNAS-Bench-101, and the catalogue of data that jaxnas reads."""
