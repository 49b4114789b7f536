"""Transform's module: exact sums only, so that two runs give the same bytes."""

import tensorflow_transform as tft


def preprocessing_fn(inputs):
    return {
        "x_xf": tft.scale_to_0_1(inputs["x"]),
        "colour_xf": tft.compute_and_apply_vocabulary(inputs["colour"], num_oov_buckets=1),
        "y_xf": inputs["y"],
    }
