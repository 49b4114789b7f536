"""Facts: what runs and artifacts on disk say, as plain data. One module per kind of artifact; nothing is drawn here.

Only numpy, pyarrow and the messages of `tensorflow_metadata` are needed, never TFX or TensorFlow: a run that is cached
as a whole gets its report too.
"""
