"""The node that combines the trained members into one model.

Nodes:
    ensemble_builder: EnsembleBuilder, fits the combiner and exports one fused SavedModel.

Helper modules:
    combiner_fit: fits a combiner and drops members that do not help.
    opinion_pools: the optimization problems behind the fitted combiners.
"""
