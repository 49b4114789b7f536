"""The rule of each operation: what it makes of rows. Each rule says why rows stay apart.

`elementwise` works on each element alone; `shapes` moves elements; `products` combines elements within a row; `sparse`
selects elements and carries their row along; `values` computes sizes; `flow` calls functions and loops.
"""

from benison.serving.server.graphs.rules import elementwise, flow, products, shapes, sparse, values

__all__ = ["elementwise", "flow", "products", "shapes", "sparse", "values"]
