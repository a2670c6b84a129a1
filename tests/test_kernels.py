"""Kernels that talk over sockets of their own, so that no two can want the same port."""

import gc
import os
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbval import kernel as nbval_kernel

from tokensphere.paper import kernels
from tokensphere.paper.kernels import AsyncSocketKernelManager, SocketKernelManager

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs Unix sockets")


@pytest.fixture
def folder(tmp_path_factory, monkeypatch):
    """Where temporary files go meanwhile: short enough for a socket, and empty."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)


TRANSPORT = """import json, ipykernel
print(json.load(open(ipykernel.get_connection_file()))["transport"])"""
HIDDEN = """from importlib.util import find_spec
print([find_spec(name) for name in ("causal_conv1d", "mamba_ssm", "tokensphere")].count(None))"""


def said(code: str) -> str:
    """What a kernel prints that is started as chapters are."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client = NotebookClient(
        notebook, kernel_name="python3", kernel_manager_class=AsyncSocketKernelManager
    )
    client.execute()
    return notebook.cells[0].outputs[0].text.strip()


def test_a_kernel_takes_no_port_and_leaves_nothing_behind(folder):
    assert said(TRANSPORT) == "ipc"
    gc.collect()
    assert list(folder.iterdir()) == []


def test_two_managers_share_no_socket(folder):
    first, second = SocketKernelManager(), SocketKernelManager()
    assert first.ip != second.ip


def test_where_a_path_is_too_long_for_a_socket_ports_serve(folder, monkeypatch):
    monkeypatch.setattr(kernels, "LONGEST", len(str(folder)))
    assert SocketKernelManager().transport == "tcp"


def test_chapters_do_not_see_kernels_that_know_no_cpu(folder, monkeypatch, tmp_path):
    for name in ("causal_conv1d", "mamba_ssm"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert said(HIDDEN) == "2"


def test_nbval_starts_such_a_kernel(folder, monkeypatch):
    # What tests/baselines/conftest.py sets; a change of nbval's that ignored it would show here.
    monkeypatch.setattr(nbval_kernel, "KernelManager", SocketKernelManager)
    manager, client = nbval_kernel.start_new_kernel(kernel_name="python3")
    try:
        assert manager.transport == "ipc"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
