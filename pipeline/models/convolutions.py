"""Convolutions for training on CPUs, with kernel gradients that are faster than oneDNN's on small feature maps."""

import tensorflow as tf
from keras import layers, ops

# Products of an input and an output channel per position of the feature maps, from which matrix products are faster.
_MIN_PRODUCTS_PER_POSITION = 300
# Largest side of feature maps for which exchanging image and kernel is faster, if the kernel is larger than 3 x 3.
_MAX_SIDE = 16


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, convolution: layers.Layer) -> tf.Tensor:
    """Convolve as a layer does, but with another kernel.

    Args:
        inputs: Feature maps [b, h, w, c], in the dtype to compute in.
        kernel: Kernel of the same dtype, in the shape of the layer's own.
        convolution: Conv2D or DepthwiseConv2D layer, whose bias and activation are not applied.

    Returns:
        Feature maps [b, h', w', channels].
    """
    depthwise = isinstance(convolution, layers.DepthwiseConv2D)
    if _is_plain(convolution) and not tf.config.list_physical_devices("GPU"):
        faster = _exchanging_is_faster if depthwise else _products_are_faster
        if faster(inputs, kernel):
            return _with_exchanged_gradient(inputs, kernel) if depthwise else _with_product_gradient(inputs, kernel)
    options = {name: getattr(convolution, name) for name in ("strides", "padding", "data_format", "dilation_rate")}
    return (ops.depthwise_conv if depthwise else ops.conv)(inputs, kernel, **options)


def _is_plain(convolution: layers.Layer) -> bool:
    """Return whether a convolution keeps the size of the feature maps, and has neither dilation nor groups."""
    return (
        tuple(convolution.strides) == tuple(convolution.dilation_rate) == (1, 1)
        and convolution.padding == "same"
        and convolution.data_format == "channels_last"
        and getattr(convolution, "groups", 1) == getattr(convolution, "depth_multiplier", 1) == 1
    )


def _products_are_faster(inputs: tf.Tensor, kernel: tf.Tensor) -> bool:
    """Return whether the gradient by matrix products is faster, as measured with AMX and AVX-512."""
    _, height, width, channels = inputs.shape
    return inputs.dtype == tf.bfloat16 and channels * kernel.shape[-1] >= _MIN_PRODUCTS_PER_POSITION * height * width


def _exchanging_is_faster(inputs: tf.Tensor, kernel: tf.Tensor) -> bool:
    """Return whether the gradient by exchange is faster; oneDNN is fast for kernels of 3 x 3 that fit in the maps."""
    side, kernel_side = max(inputs.shape[1:3]), max(kernel.shape[:2])
    return side < kernel_side or (kernel_side > 3 and side <= _MAX_SIDE)


@tf.custom_gradient
def _with_product_gradient(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, object]:
    """Convolve, and compute the kernel's gradient as one matrix product for each position in the kernel."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        to_inputs = tf.compat.v1.nn.conv2d_backprop_input(tf.shape(inputs), kernel, upstream, (1, 1, 1, 1), "SAME")
        height, width = inputs.shape[1:3]
        padded, (rows, columns, *channels) = _padded(inputs, kernel), kernel.shape
        flat = tf.reshape(upstream, (-1, channels[1]))
        products = [
            tf.matmul(
                tf.reshape(padded[:, row : row + height, column : column + width], (-1, channels[0])),
                flat,
                transpose_a=True,
            )
            for row in range(rows)
            for column in range(columns)
        ]
        return to_inputs, tf.reshape(tf.stack(products), kernel.shape)

    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient


@tf.custom_gradient
def _with_exchanged_gradient(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, object]:
    """Convolve channel by channel, and compute the kernel's gradient as the convolution of inputs with gradients.

    The channels of all images become the channels of one image, and the gradients of the outputs become its kernel.
    The result has one value for each image and each position of the true kernel.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        strides = (1, 1, 1, 1)
        to_inputs = tf.nn.depthwise_conv2d_backprop_input(tf.shape(inputs), kernel, upstream, strides, "SAME")
        padded = _padded(inputs, kernel)
        image = tf.reshape(tf.transpose(padded, (1, 2, 0, 3)), (1, *padded.shape[1:3], -1))
        as_kernel = tf.reshape(tf.transpose(upstream, (1, 2, 0, 3)), (*upstream.shape[1:3], -1, 1))
        of_each = tf.raw_ops.DepthwiseConv2dNative(input=image, filter=as_kernel, strides=strides, padding="VALID")
        rows, columns, channels, _ = kernel.shape
        to_kernel = tf.reduce_sum(tf.reshape(of_each, (rows, columns, -1, channels)), axis=2)
        return to_inputs, to_kernel[..., tf.newaxis]

    return tf.nn.depthwise_conv2d(inputs, kernel, (1, 1, 1, 1), "SAME"), gradient


def _padded(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the inputs with the zeros around them that padding "same" adds."""
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    around = ((0, 0), (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    return tf.pad(inputs, around) if rows or columns else inputs
