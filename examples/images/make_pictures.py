"""Write handwritten digits as PNG files, one folder per digit: pictures/DIGIT/NUMBER.png."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

COUNT = 600

digits = load_digits()
for number, (pixels, digit) in enumerate(zip(digits.images[:COUNT], digits.target[:COUNT], strict=True)):
    folder = Path("pictures", str(digit))
    folder.mkdir(parents=True, exist_ok=True)
    png = tf.io.encode_png((pixels[..., None] * 255 / 16).astype(np.uint8))
    (folder / f"{number:04}.png").write_bytes(png.numpy())
