"""The limits on who may do what with a model server: other names, reloads, and models that reach outside."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from benison.serving import models_config
from benison.serving.client import GrpcClient, ServerError
from benison.serving.errors import VersionError
from benison.serving.promotion import promote as promotion
from benison.serving.promotion.access import Access
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import local as versions
from benison.serving.versions.manifest import Manifest
from tests.integration.conftest import BENISON
from tests.integration.model_server import (
    Server,
    config,
    entry,
    free_port,
    publish,
    reload,
    running,
    tls,
    wait_until,
    write_certificates,
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """A server on loopback with one more name, without a token, and with a Unix socket."""
    folder = tmp_path_factory.mktemp("local")
    publish(made[1], folder / "m", 1)
    flags = (f"--model_base_path={folder / 'm'}", "--model_name=m", f"--grpc_socket_path={folder / 'socket'}")
    with running(folder, *flags, environment={"BENISON_ALLOWED_HOSTS": "models.example"}) as server:
        yield server


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8501", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]:8501", 200),
        ("models.example:80", 200),
        ("localhost.:8501", 200),  # with the dot of the root
        ("models.example.", 200),
        ("localhost ", 200),
        ("10.1.2.3:8501", 200),  # a probe by address
        ("127.0.0.2", 200),
        ("127.1", 200),
        ("[0:0:0:0:0:0:0:1]:8501", 200),
        ("[::FFFF:127.0.0.1]", 200),
        ("10.1.2.3.4", 421),
        ("127.0.0.1 evil.example", 421),
        ("[evil.example]", 421),
        ("::1", 421),
        ("localhost..", 421),
        ("evil.example", 421),
        ("localhost.evil.example:8501", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1].evil.example", 421),
        ("user@localhost", 421),
        ("localhost@evil.example", 421),
        ("", 421),
    ],
)
def test_a_page_in_a_browser_cannot_read_answers_under_its_own_name(local: Server, host: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local.rest, timeout=30)
    try:
        for path in ("/v1/models/m", "/benison/status"):
            connection.request("GET", path, headers={"Host": host})
            response = connection.getresponse()
            body = response.read()
            assert response.status == status
            assert (b"BENISON_ALLOWED_HOSTS" in body) == (status == 421)
    finally:
        connection.close()


def test_a_connection_does_not_keep_the_right_to_another_name(local: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local.rest, timeout=30)
    try:
        statuses = []
        for host in ("localhost", "localhost", "evil.example"):
            connection.request("GET", "/v1/models/m", headers={"Host": host})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        assert statuses == [200, 200, 421]
    finally:
        connection.close()


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_names_with_control_characters_are_refused_and_cannot_forge_a_line_of_the_log(local: Server) -> None:
    folder = local.log.parent
    forged = "2026-12-01 00:00:00,000 INFO benison-model-server: forged"
    m = entry("m", folder / "m")
    for wrong in (
        entry("x\\n" + forged, folder / "m"),
        entry("x", Path(f"{folder}/\\033[2J{forged}")),
        entry("x", folder / "m", f'version_labels {{ key: "\\r{forged}" value: 1 }}'),
    ):
        with pytest.raises(ServerError, match=r"INVALID_ARGUMENT: model x.* has control characters"):
            reload_by_socket(local, config([m, wrong]))
    log = local.log.read_text()
    assert forged in log  # the refusal is logged,
    assert not [line for line in log.splitlines() if line.startswith(forged)]  # on a line of its own
    assert "\x1b" not in log


def test_a_wrong_name_on_the_command_line_is_shown_with_escapes(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"model x\\x1b\[2J: its name x\\x1b\[2J has control characters"),
        running(tmp_path, f"--model_base_path={tmp_path}", "--model_name=x\x1b[2J"),
    ):
        raise RuntimeError("it started")


def test_the_status_shows_folders_on_loopback_only(local: Server, tmp_path: Path, made: dict[int, Path]) -> None:
    _, status = local.ask("GET", "/benison/status")
    assert status["models"]["m"]["base_path"] == str(local.log.parent / "m")
    assert status["models"]["m"]["versions"]["1"]["path"] == str(local.log.parent / "m" / "1")
    base = tmp_path / "with blank" / "m"
    publish(made[1], base, 1)
    (base / "2").mkdir()
    (base / "2" / "saved_model.pb").symlink_to("/etc/hostname")
    (tmp_path / "models.config").write_text(config([entry("m", base, "model_version_policy { all {} }")]))
    flags = (f"--model_config_file={tmp_path / 'models.config'}", "--max_num_load_retries=0")
    with running(tmp_path, *flags, environment={"BENISON_BIND": "0.0.0.0"}) as server:
        wait_until(lambda: server.states("m") == {"1": "AVAILABLE", "2": "END"})
        _, status = server.ask("GET", "/benison/status")
    failed = status["models"]["m"]["versions"]["2"]
    assert "leads out of" in failed["error"]
    assert "hostname" in failed["error"]
    assert str(tmp_path) not in str(status)
    assert "/etc" not in str(status)


# --- reloads ----------------------------------------------------------------------------------------------------------


def reload_by_socket(server: Server, text: str) -> None:
    async def ask() -> None:
        async with GrpcClient(f"unix:{server.log.parent / 'socket'}") as client:
            await client.reload(text)

    asyncio.run(ask())


def test_on_loopback_too_only_the_sockets_owner_reloads_without_a_token(local: Server) -> None:
    folder = local.log.parent
    both = config([entry("m", folder / "m"), entry("other", folder / "m")])
    for token in ("", "guessed"):
        with pytest.raises(ServerError, match=r"PERMISSION_DENIED: .*started without a token"):
            reload(local, both, token)
    assert local.ask("GET", "/v1/models/other")[0] == 404
    assert (folder / "socket").stat().st_mode & 0o137 == 0  # others must not connect, nobody executes
    reload_by_socket(local, both)
    assert local.ask("GET", "/v1/models/other")[0] == 200
    reload_by_socket(local, config([entry("m", folder / "m")]))


def test_a_socket_that_cannot_be_opened_ends_the_start(local: Server, tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "m", 1)
    (tmp_path / "file").write_text("mine")
    taken = local.log.parent / "socket"
    for path, reason in (
        (tmp_path / ("x" * 120), "cannot be opened; expected at most 107 bytes"),
        (tmp_path / "file", "a file exists there that is no socket"),
        (taken, "another server listens there"),
    ):
        with (
            pytest.raises(AssertionError, match=rf"grpc_socket_path={path}: {reason}"),
            running(tmp_path, f"--model_base_path={tmp_path / 'm'}", "--model_name=m", f"--grpc_socket_path={path}"),
        ):
            raise RuntimeError("it started")
    assert (tmp_path / "file").read_text() == "mine"
    reload_by_socket(local, config([entry("m", local.log.parent / "m")]))  # it still has its socket


def test_the_socket_of_a_server_that_was_killed_is_replaced(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "m", 1)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "socket"))
    flags = (f"--model_base_path={tmp_path / 'm'}", "--model_name=m", f"--grpc_socket_path={tmp_path / 'socket'}")
    with running(tmp_path, *flags) as server:
        reload_by_socket(server, config([entry("m", tmp_path / "m")]))


@pytest.fixture
def base(tmp_path: Path, made: dict[int, Path]) -> Path:
    """ROOT/serving/m with versions 1 and 2; 1 is stable."""
    base = tmp_path / "root" / "serving" / "m"
    for number in (1, 2):
        versions.publish(made[number], base, Manifest(), lambda number=number: number)  # type: ignore[misc]
    promotion.promote(base, 1, ChangeRequest("ann", "first"))
    return base


def promote(base: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BENISON, "promote", "m", "2", "--root", base.parents[1], "--timeout", "30", *options],
        cwd=base.parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_promote_reaches_the_server_of_benison_serve_without_a_token(base: Path) -> None:
    port, rest = free_port(), free_port()
    log = base.parents[2] / "serve.log"
    command = [
        str(BENISON),
        "serve",
        "m",
        "--root",
        str(base.parents[1]),
        "--port",
        str(port),
        "--rest-port",
        str(rest),
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--poll", "1000"], cwd=base.parents[2], stdout=output, stderr=subprocess.STDOUT, text=True
        )
    server = Server(process, port, rest, log)
    try:
        wait_until(lambda: process.poll() is not None or "Ctrl-C stops the server" in log.read_text(), 120)
        assert process.poll() is None, log.read_text()
        with pytest.raises(ServerError, match="PERMISSION_DENIED"):
            reload(server, config([]))
        done = promote(base)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"served by localhost:{port}" in done.stdout
        assert server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [2.0]})
        back = subprocess.run(
            [BENISON, "rollback", "m", "--root", base.parents[1], "--server", f"127.0.0.1:{port}"],
            cwd=base.parents[2], capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert (back.returncode, back.stderr) == (0, "")
        assert server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [1.0]})
    finally:
        process.terminate()
        process.wait(60)
    assert "written to models.config" in promote(base).stdout  # nobody is notified about a server that has ended


def test_promote_sends_the_token_over_tls(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificates(tmp_path)
    (tmp_path / "ssl").write_text(tls(tmp_path, client_verify=True))
    flags = (
        f"--model_config_file={base.parent / models_config.FILE}",
        "--allow_version_labels_for_unavailable_models=true",
        f"--ssl_config_file={tmp_path / 'ssl'}",
    )
    monkeypatch.setenv("BENISON_ADMIN_TOKEN", "open sesame")
    with running(tmp_path, *flags) as server:
        to = ("--server", f"127.0.0.1:{server.port}")
        ca, certificate = ("--ca", str(tmp_path / "ca.pem")), ("--client-certificate", str(tmp_path / "client.pem"))
        missing = promote(base, *to, "--ca", str(tmp_path / "none.pem"))
        assert (missing.returncode, "none.pem cannot be read" in missing.stderr) == (2, True)
        half = promote(base, *to, *ca, *certificate)
        assert (half.returncode, "--client-key" in half.stderr) == (2, True)
        assert server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [1.0]})
        ca_file = str(tmp_path / "ca.pem")
        for port, access, hint in (
            (server.port, Access(), "if it speaks TLS, --ca (BENISON_SERVER_CA) names"),
            (server.port, Access(ca=ca_file), "if it requires a client certificate, set --client-certificate"),
            (server.rest, Access(), "it speaks HTTP; expected the server's gRPC port"),
            (server.rest, Access(ca=ca_file), "it does not speak TLS; leave out --ca"),
        ):
            request = ChangeRequest("ann", "trying", (f"127.0.0.1:{port}",), access=access)
            with pytest.raises(VersionError, match=rf"UNAVAILABLE.*; {re.escape(hint)}.*; everything was rolled back$"):
                promotion.promote(base, 2, request)
        done = promote(base, *to, *ca, *certificate, "--client-key", str(tmp_path / "client.key"))
        assert (done.returncode, done.stderr) == (0, "")
        assert server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [2.0]})


# --- models that reach outside ----------------------------------------------------------------------------------------


def write_writer(folder: Path, target: Path) -> Path:
    """A SavedModel that writes the text of its input to a file."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    def write(s: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.io.write_file(str(target), s[0])]):
            return {"s": tf.identity(s)}

    tf.saved_model.save(tf.Module(), str(folder), signatures=write)
    return folder


def test_a_model_from_elsewhere_must_not_use_the_servers_rights(local: Server, tmp_path: Path) -> None:
    folder, target = local.log.parent, tmp_path / "written"
    write_writer(tmp_path / "writer" / "1", target)
    versions.publish(tmp_path / "writer" / "1", folder / "pushed", Manifest(), lambda: 1)
    m, pushed = entry("m", folder / "m"), entry("pushed", folder / "pushed")
    # The folder's own record of pushes says nothing: whoever made the folder may have written it.
    for name, model in (("writer", entry("writer", tmp_path / "writer")), ("pushed", pushed)):
        with pytest.raises(
            ServerError, match=r"uses WriteFile WriteFile \(files\); BENISON_REFUSE_OPS=0 loads such models"
        ):
            reload_by_socket(local, config([m, model]))
        assert [*local.states(name).values()] == ["END"]
        assert local.post(f"{name}:predict", {"instances": ["text"]})[0] == 404
        assert not target.exists()
    reload_by_socket(local, config([m]))
