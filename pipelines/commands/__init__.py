"""The functions behind the command line `benison`, one module per group of commands."""
