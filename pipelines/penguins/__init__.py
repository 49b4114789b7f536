"""The Palmer penguins: which of three species, from measurements of which some are missing."""
