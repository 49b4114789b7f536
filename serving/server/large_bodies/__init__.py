"""Large JSON bodies are read in a process of their own, with a limit on its memory: others' requests do not wait."""
