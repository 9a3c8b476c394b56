"""Many launches as one: a CUDA graph. Its arguments are frozen; what changes lies in device arrays."""

from collections.abc import Callable

from numba import cuda


def capture(launch: Callable):
    """launch(stream) recorded, not run. Everything it launches has run once before: a capture cannot compile."""
    from cuda.core import Device

    cuda.synchronize()
    device = Device()
    device.set_current()
    builder = device.create_graph_builder().begin_building()
    launch(builder)
    return builder.end_building().complete()


def run(graph) -> None:
    """The recorded launches, after all that was launched before, on the stream that numba-cuda's copies use."""
    from cuda.core import Stream

    graph.launch(Stream.from_handle(0))
