"""Convolution and pooling in pure NumPy: the definitions, written to be read.

Every function here computes what its namesake in ``fastconv`` computes, from NumPy alone.  It is
the text to read before the kernels, the oracle they are tested against, and a fair picture of how
fast the im2col method can be in NumPy.  What it spends is memory: the column matrix is KH·KW times
as large as the input (for stride 1), and the compiled kernels never build it.

Notation: a batch of N samples, C input and O output channels, input planes H x W, kernels KH x KW,
output planes OH x OW; s is the stride, d the dilation, t and l the padding at the top and left.

**Windows.**  Output pixel (p, q) looks at the input through a window of KH·KW taps; its tap (i, j)
lies on input pixel (p·s + i·d - t, q·s + j·d - l).  Pixels outside the plane are padding.  One axis
of size H, padded by p0 and p1, has room for ::

    OH = floor((H + p0 + p1 - d·(KH - 1) - 1) / s) + 1          windows.

**Convolution** weighs the pixels of a window with a kernel and adds them up over the channels::

    y[n, o, p, q] = b[o] + Σ_c Σ_i Σ_j  w[o, c, i, j] · x[n, c, p·s + i·d - t, q·s + j·d - l]

with x = 0 in the padding.  As everywhere in deep learning this is a cross-correlation; for the
convolution of mathematics, which flips the kernel, pass ``weight[:, :, ::-1, ::-1]``.  With G
groups the channels fall into G equal parts, and each part is a convolution of its own.

**im2col** turns the sum over (c, i, j) into a matrix product.  Write every window as a column::

    X[n, (c, i, j), (p, q)] = x[n, c, p·s + i·d - t, q·s + j·d - l]     so that     Y = W X + b

where row o of W is kernel o, flattened.  im2col is linear in x; its transpose is **col2im**, which
adds every entry of a column back onto the pixel that it came from.

**Gradients.**  Given dy, the gradient of a loss with respect to y, the chain rule reads ::

    dW = Σ_n dY[n] X[n]ᵀ        dX = Wᵀ dY,   dx = col2im(dX)        db = Σ_n Σ_p Σ_q dy

**Transposed convolution** makes the input gradient a function of its own: y = col2im(Wᵀ X).  Its
gradients are im2col's products again, with input and output in each other's places.

**Max pooling** takes the largest pixel of each window and channel; padding is -∞ and is never
chosen.  Its gradient goes to the chosen pixel alone.  **Average pooling** adds the window up and
divides by a count; its gradient is spread evenly over the window.

Read on in `windows`, `columns`, `conv`, `conv_transpose`, `matrix`, `max_pool` and `avg_pool`; what
is not mathematics is in `arguments`.  The internals work for any number of spatial axes; only the
public functions say "1d", "2d", "3d".  (Imports are relative: the folder works on its own.)
"""

from __future__ import annotations

from .avg_pool import (
    avg_pool1d,
    avg_pool1d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    avg_pool3d,
    avg_pool3d_backward,
)
from .columns import col2im, im2col
from .conv import conv1d, conv1d_backward, conv2d, conv2d_backward, conv3d, conv3d_backward
from .conv_transpose import (
    conv_transpose1d,
    conv_transpose1d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    conv_transpose3d,
    conv_transpose3d_backward,
)
from .matrix import convolution_matrix
from .max_pool import (
    max_pool1d,
    max_pool1d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool3d,
    max_pool3d_backward,
)
from .windows import normalise_padding

__all__ = [
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
    "col2im",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv3d",
    "conv3d_backward",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "conv_transpose3d",
    "conv_transpose3d_backward",
    "convolution_matrix",
    "im2col",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "normalise_padding",
]
