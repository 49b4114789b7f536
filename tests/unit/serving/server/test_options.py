"""Flags take effect in loading, TensorFlow's session and TLS."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from benison.serving.errors import UsageError
from benison.serving.server import descriptors, flags, grpc_api, main
from benison.serving.server.engine import LoadOptions
from benison.serving.server.engines import saved_model


def test_half_of_the_descriptors_are_for_http_connections():
    limit = descriptors.raise_limit()
    assert limit is None or limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert [descriptors.connections_within(4096, allowed) for allowed in (None, 100_000, 1024)] == [4096, 4096, 512]


def test_help_may_be_read_in_part():
    # The reader's end of the pipe is closed before anything is written.
    code = "import os, sys; from benison.serving.server.main import main; sys.argv[1:] = ['--help']; main()"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], LoadOptions()),
        (["--saved_model_tags=serve,gpu"], LoadOptions(tags=("serve", "gpu"))),
        (["--prefer_tflite_model"], LoadOptions(prefer_tflite=True)),
        (["--enable_model_warmup=false"], LoadOptions(warm_up=False)),
        (["--num_request_iterations_for_warmup=3"], LoadOptions(warm_up_iterations=3)),
        (["--tensorflow_session_parallelism=4"], LoadOptions(intra_op_threads=4, inter_op_threads=4)),
        (["--tensorflow_intra_op_parallelism=2"], LoadOptions(intra_op_threads=2)),
        (["--tensorflow_inter_op_parallelism=2"], LoadOptions(inter_op_threads=2)),
        (["--per_process_gpu_memory_fraction=0.5"], LoadOptions(gpu_memory_fraction=0.5)),
        (["--tensorflow_session_config_file=/x"], LoadOptions(session_config_file="/x")),
    ],
)
def test_flags_become_load_options(argv, options):
    assert main._load_options(flags.parse(["--model_base_path=/m", *argv])[0]) == options


def test_load_options_become_session_options(tmp_path):
    config = saved_model._config(LoadOptions(intra_op_threads=3, inter_op_threads=4, gpu_memory_fraction=0.5))
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (3, 4)
    assert config.gpu_options.per_process_gpu_memory_fraction == 0.5
    (tmp_path / "session").write_text("intra_op_parallelism_threads: 7 allow_soft_placement: true")
    config = saved_model._config(LoadOptions(session_config_file=str(tmp_path / "session")))
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (7, 1)
    assert config.allow_soft_placement


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('server_key: "k"', "server_key and server_cert must both be set"),
        ('server_key: "k" server_cert: "c" client_verify: true', "client_verify needs custom_ca"),
        ("server_key", "Error parsing text-format benison.SSLConfig: 1:"),
    ],
)
def test_a_wrong_ssl_config_is_refused(tmp_path, text, message):
    (tmp_path / "ssl").write_text(text)
    with pytest.raises(UsageError, match=message):
        grpc_api.credentials(str(tmp_path / "ssl"))


def test_full_garbage_collections_skip_the_objects_of_tensorflow():
    program = (
        "import gc; from benison.serving.server.engine import LoadOptions; from benison.serving.server.main import _prepare; "
        "_prepare(LoadOptions()); import tensorflow; print(len(gc.get_objects()))"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert int(process.stdout) < 10_000
