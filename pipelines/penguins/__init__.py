"""Example: predict the species of Palmer penguins from measurements, some of them missing."""
