"""Members of kind `linear`: a linear or logistic regression with a ridge penalty, solved exactly.

Gradient descent stops near the solution at best, and early stopping is a noisy penalty. The exact solution of a small
table takes milliseconds.

Helper modules:
    fitter: fits the weights of a member.
    scaled: features of mean 0 and deviation 1, sparse where most values are 0.
    settings: its hyperparameters.
"""
