"""Explanations of single answers: how much each column of a row moved the answer away from the mean answer.

Modules:
    background: the rows of `train` in a version that the answers are compared with.
    shapley: Shapley values by sampling permutations.
"""
