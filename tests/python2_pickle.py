"""Write CIFAR's python batches byte by byte as Python 2 pickles them with protocol 2."""

import struct

import numpy as np


def array_code(values: np.ndarray) -> bytes:
    """Return the opcodes that push a uint8 array."""
    shape = b"".join(b"J" + struct.pack("<i", size) for size in values.shape)
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = b"T" + struct.pack("<i", values.size) + values.tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return empty + b"(K\x01(" + shape + b"t" + dtype + b"\x89" + data + b"tb"


def array(values: np.ndarray) -> bytes:
    """Return a pickled uint8 array."""
    return b"\x80\x02" + array_code(values) + b"."


def batch(images: np.ndarray, labels: np.ndarray, label_key: str) -> bytes:
    """Return a pickled batch dict of images [N, 32, 32, 3]: a row of 3072 values per image, channels first."""
    pixels = images.transpose(0, 3, 1, 2).reshape(len(images), 3072)
    label_list = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries = _string("batch_label") + _string("training batch 1 of 5") + _string(label_key) + label_list
    return b"\x80\x02}(" + entries + _string("data") + array_code(pixels) + b"u."


def _string(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode()
