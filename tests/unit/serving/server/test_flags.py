"""The flags of TF Serving have the same meaning here, and a wrong one is reported with the closest name."""

from __future__ import annotations

import re

import pytest

from benison.serving.errors import UsageError
from benison.serving.server import flags, settings
from benison.serving.server.flags import Flags

BASE = "--model_base_path=/m"


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        ([BASE], "port", 8500),
        ([BASE], "rest_api_port", 0),
        ([BASE], "model_name", "default"),
        ([BASE], "rest_api_timeout_in_ms", 30000),
        ([BASE], "max_num_load_retries", 5),
        ([BASE], "load_retry_interval_micros", 60_000_000),
        ([BASE], "file_system_poll_wait_seconds", 1),
        ([BASE], "model_config_file_poll_wait_seconds", 0),
        ([BASE], "enable_model_warmup", True),
        ([BASE, "--port=9000"], "port", 9000),
        ([BASE, "--port", "9000"], "port", 9000),
        ([BASE, "--port=1", "--port=2"], "port", 2),
        ([BASE, "--enable_batching"], "enable_batching", True),
        ([BASE, "--enable_batching=true"], "enable_batching", True),
        ([BASE, "--enable_batching", "true"], "enable_batching", True),
        ([BASE, "--enable_batching=1"], "enable_batching", True),
        ([BASE, "--enable_model_warmup=false"], "enable_model_warmup", False),
        ([BASE, "--enable_model_warmup", "false"], "enable_model_warmup", False),
        ([BASE, "--noenable_model_warmup"], "enable_model_warmup", False),
        ([BASE, "--grpc_channel_arguments=a=1,b=x"], "grpc_channel_arguments", "a=1,b=x"),
        ([BASE, "--per_process_gpu_memory_fraction=0.5"], "per_process_gpu_memory_fraction", 0.5),
        ([BASE, "--model_name="], "model_name", ""),
    ],
)
def test_a_flag_is_read_in_every_spelling(argv, name, value):
    assert getattr(flags.parse(argv)[0], name) == value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rest_port=1"], "unknown flag --rest_port; did you mean --rest_api_port?"),
        (["--nomodel_name"], "unknown flag --nomodel_name"),
        (["--zzz"], "unknown flag --zzz; --help lists all flags"),
        (["serve"], "unknown argument 'serve'; expected --flag=value"),
        (["-port=1"], "unknown argument '-port=1'"),
        (["--port=x"], "--port: got 'x', expected a whole number"),
        (["--port=70000"], "--port=70000: expected 0 to 65535"),
        (["--enable_batching=maybe"], "--enable_batching: got 'maybe', expected true or false"),
        (["--port"], "--port: no value; expected a whole number"),
        (["--port=0"], "set at least one of them"),
        (["--batching_parameters_file=x"], "without --enable_batching"),
        (["--rest_api_port=8500"], "is the same as --port"),
        (
            [f"--tensorflow_{kind}_parallelism=1" for kind in ("session", "intra_op", "inter_op")],
            "set the first flag, or the other two",
        ),
    ],
)
def test_a_wrong_command_line_is_refused(argv, message):
    with pytest.raises(UsageError) as error:
        flags.parse([BASE, *argv])
    assert message in str(error.value)


def test_nothing_to_serve_is_refused():
    with pytest.raises(UsageError, match="neither --model_config_file nor --model_base_path"):
        flags.parse([])


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(UsageError) as error:
        flags.parse(["--prot=1", "--port=x"])
    assert len(str(error.value).splitlines()) == 2


def test_a_flag_without_effect_gives_one_warning():
    _, warnings = flags.parse([BASE, "--grpc_max_threads=3", "--grpc_max_threads=4", "--enable_profiler"])
    assert [warning.split()[0] for warning in warnings] == ["--grpc_max_threads", "--enable_profiler"]


def test_version_needs_no_other_flag():
    assert flags.parse(["--version"])[0].version


def test_the_help_names_every_flag():
    text = flags.usage()
    assert all(f"--{name}" in text for name in [*Flags.__dataclass_fields__, *flags.WITHOUT_EFFECT])


@pytest.mark.parametrize(
    ("environment", "bind", "loopback"),
    [
        ({}, ("127.0.0.1", "::1"), True),
        ({"BENISON_BIND": "0.0.0.0"}, ("0.0.0.0",), False),
        ({"BENISON_BIND": "127.0.0.1, ::"}, ("127.0.0.1", "::"), False),
        ({"BENISON_BIND": "localhost,127.0.0.9,[::1]"}, ("localhost", "127.0.0.9", "[::1]"), True),
    ],
)
def test_the_server_listens_on_loopback_by_default(environment, bind, loopback):
    parsed = settings.read(environment)
    assert (parsed.bind, parsed.loopback_only) == (bind, loopback)


@pytest.mark.parametrize(("value", "shared"), [("", True), ("1", True), ("on", True), ("0", False), ("off", False)])
def test_the_environment_turns_shared_runs_off(value, shared):
    assert settings.read({"BENISON_SHARE_RUNS": value}).share_runs is shared


def test_a_switch_is_on_or_off():
    with pytest.raises(UsageError, match="BENISON_SHARE_RUNS=no: expected on, 1, off or 0"):
        settings.read({"BENISON_SHARE_RUNS": "no"})


@pytest.mark.parametrize("value", ["0", "-1", "many", "inf", "nan"])
def test_a_limit_must_be_a_positive_number(value):
    with pytest.raises(UsageError, match=f"BENISON_MAX_QUEUE={value}: expected a number above 0"):
        settings.read({"BENISON_MAX_QUEUE": value})


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.svc.local",
        "a b",
        "[::1]:85",
        "models.example:80",
        "https://models.example",
        "::1",
        "größe.example",
        ".a",
    ],
)
def test_a_host_that_could_never_match_is_refused(entry):
    with pytest.raises(UsageError, match=rf"BENISON_ALLOWED_HOSTS: got {re.escape(entry)}, expected whole names"):
        settings.read({"BENISON_ALLOWED_HOSTS": f"models.example.org,{entry}"})


def test_names_beyond_loopback_are_checked_only_if_they_are_listed():
    everywhere = {"BENISON_BIND": "0.0.0.0"}
    assert settings.read(everywhere).host_names is None
    listed = {**everywhere, "BENISON_ALLOWED_HOSTS": "Models.Example.org., other"}
    assert settings.read(listed).host_names == {"localhost", "models.example.org", "other"}
    assert settings.read({}).host_names == {"localhost"}
