"""Fixtures shared by all tests."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import settings

from data_prep.base import progress
from tests.makers import make_dataset

# Threads that wait by spinning make tests ten times slower where other programs run as well.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The same examples each time, however busy the machine: what passed once passes again.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

progress.SILENCE = 60.0  # Nor does slow loading of libraries add a line to what is told.


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder `faces` with ten good photos and twenty faces."""
    return make_dataset(tmp_path / "faces")


@pytest.fixture
def serve():
    """Starts servers on this machine; a function gets each request and answers."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with both nets, weights random but always the same."""
    # Imported here: most tests do without torch, which takes seconds to load.
    from tests.pipeline.makers import save_random_weights

    return save_random_weights(tmp_path_factory.mktemp("weights"))
