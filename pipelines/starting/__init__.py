"""The first steps with Benison: check the machine, create a pipeline from a CSV file, eject its Python."""
