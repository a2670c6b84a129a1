"""nbval starts as many kernels at once as there are workers, and lets nobody choose their manager."""

from nbval import kernel

from tokensphere.paper.kernels import SocketKernelManager

kernel.KernelManager = SocketKernelManager
