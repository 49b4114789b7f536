"""Reads from a graph, without a run, whether the rows of a signature are independent and whether it writes anything.

`alignment` walks through the operations from the inputs to the outputs, and into the functions that they call. It
computes for each tensor a `facts.Fact`: that it is the same for every request, that one axis of it is the rows of the
request, or that its rows are mixed. Each operation has a rule in `rules`; an operation without a rule mixes rows.
`writes` finds the operations with a lasting effect, and `kernels` those that this TensorFlow cannot run; both look with
`search`.
"""
