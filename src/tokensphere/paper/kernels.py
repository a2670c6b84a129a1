"""Jupyter kernels that many processes can start at once.

A manager of jupyter_client looks for five free TCP ports and lets go of them; a second later the
kernel binds them. Meanwhile any other process may get one, and then the kernel dies before it has
said a word. These managers talk to their kernels over Unix sockets in a folder of their own, which
nobody else can take.

Their kernels do not see mamba-ssm and causal-conv1d where these are installed. Chapters run models
on a CPU, for which these have no code; transformers takes them wherever they can be imported, and
then fails. What trains on a GPU are the experiments behind records, in processes of their own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from typing import Any

from jupyter_client.manager import AsyncKernelManager, KernelManager

__all__ = ["START_SECONDS", "AsyncSocketKernelManager", "SocketKernelManager"]

LONGEST = 100
"""Bytes that the path of a Unix socket may have: 107 on Linux, 103 on macOS."""
START_SECONDS = 600
"""How long a kernel may take to start: on a machine with much other work a minute, which is what
libraries give it, is not enough."""
HIDE = "__import__('sys').modules.update(mamba_ssm=None, causal_conv1d=None)"
"""Run before a chapter's first cell: what is None there can neither be imported nor found."""


class _Sockets:
    def __init__(self, **kwargs: Any) -> None:
        if os.name == "posix":
            folder = tempfile.mkdtemp(prefix="kernel-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            file = os.path.join(folder, "k.json")
            if len(os.fsencode(file)) < LONGEST:  # the sockets' names are two bytes longer
                kwargs = {"transport": "ipc", "connection_file": file} | kwargs
        super().__init__(**kwargs)

    async def _async_pre_start_kernel(self, **kwargs: Any) -> Any:
        # The first that both ways of starting a kernel come by.
        more = [*kwargs.pop("extra_arguments", []), f"--IPKernelApp.exec_lines={HIDE}"]
        return await super()._async_pre_start_kernel(extra_arguments=more, **kwargs)


class SocketKernelManager(_Sockets, KernelManager):
    """For who waits for the kernel, as nbval does."""


class AsyncSocketKernelManager(_Sockets, AsyncKernelManager):
    """For nbclient and papermill: their `kernel_manager_class`."""
