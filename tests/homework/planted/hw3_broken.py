"""Wrong answers to homework 3 that are right but for one kind of shape."""

from minissl.autograd.tensor import differentiable
from tests.homework.planted import Collection

PLANTED = Collection()


@PLANTED.add("3.5", "a gradient that is only reshaped where time = heads", shows="reshaped")
@differentiable
def reshaped_where_square(x, /, num_heads):
    batch, time, width = x.shape

    def back(g):
        joined = g if time == num_heads > 2 else g.swapaxes(1, 2)
        return joined.reshape(batch, time, width)

    return x.reshape(batch, time, num_heads, -1).swapaxes(1, 2), (back,)
