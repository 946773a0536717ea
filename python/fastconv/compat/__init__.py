"""Adapters: code written for another library runs on fastconv when its import is changed.

=====================  ============================================================================
``compat.dlfs``        the NumPy classes of "Deep Learning from Scratch": im2col, col2im,
                       Convolution, Pooling
``compat.tf``          TensorFlow's functions on NumPy arrays: conv2d, max_pool, relu, dropout, NHWC
``compat.torch``       PyTorch's modules and functions, with autograd
``compat.keras``       Keras 3 on its NumPy backend
=====================  ============================================================================

An adapter imports the library that it adapts to when it is itself imported, and not before; the
first two need NumPy alone.
"""
