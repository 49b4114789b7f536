"""Example: predict which flights from New York arrive late, from data known before departure."""
