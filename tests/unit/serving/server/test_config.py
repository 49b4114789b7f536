"""ModelServerConfig and the other text protos become plain data; the errors are TF Serving's."""

from __future__ import annotations

import pytest

from benison.serving import models_config
from benison.serving.errors import UsageError
from benison.serving.models_config import All, Config, Latest, Model, Specific
from benison.serving.server import model_config, text_protos, version_folders
from benison.serving.server.batching import limits as batching_limits
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.status import Code, RequestError


def read(tmp_path, text: str):
    (tmp_path / "models.config").write_text(text)
    return model_config.read(str(tmp_path / "models.config"))


def model(more: str = "", platform: str = 'model_platform: "tensorflow"') -> str:
    return f'model_config_list {{ config {{ name: "m" base_path: "/m" {platform} {more} }} }}'


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", Latest(1)),
        ("model_version_policy {}", Latest(1)),
        ("model_version_policy { latest {} }", Latest(1)),
        ("model_version_policy { latest { num_versions: 3 } }", Latest(3)),
        ("model_version_policy { all {} }", All()),
        ("model_version_policy { specific { versions: 4 versions: 2 } }", Specific(frozenset([2, 4]))),
    ],
)
def test_a_policy_is_read(tmp_path, text, policy):
    assert read(tmp_path, model(text)) == Config({"m": Model("m", "/m", policy)})


def test_labels_and_the_deprecated_type_are_read(tmp_path):
    config = read(tmp_path, model('version_labels { key: "stable" value: 7 }', "model_type: TENSORFLOW"))
    assert config.models["m"].labels == {"stable": 7}


def test_an_empty_list_serves_nothing_and_an_empty_file_is_refused(tmp_path):
    assert read(tmp_path, "model_config_list {}") == Config({})
    for text in ("", "\n", "# model_config_list {}\n"):
        with pytest.raises(RequestError, match=r"models.config: it is empty; write `model_config_list \{\}`"):
            read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'model_config_list { config { name: "m" base_path: "m" model_platform: "tensorflow" } }',
            "Expected model m to have an absolute path or URI; got base_path()=m",
        ),
        (
            'model_config_list { config { name: "m" base_path: "gs://m" model_platform: "tensorflow" } }',
            "this server reads local folders only",
        ),
        (model(platform=""), "Illegal setting neither ModelServerConfig::model_type"),
        (
            model(platform='model_type: TENSORFLOW model_platform: "tensorflow"'),
            "Illegal setting both ModelServerConfig::",
        ),
        (model(platform='model_platform: "torch"'), "Model m requests unsupported platform torch"),
        (f"{model()} {model()}".replace("} model_config_list {", ""), "Illegal to list model m multiple times"),
        ("custom_model_config {}", "does not support custom model config"),
    ],
)
def test_what_tf_serving_refuses_is_refused(tmp_path, text, message):
    with pytest.raises(RequestError) as error:
        read(tmp_path, text)
    assert message in error.value.message


@pytest.mark.parametrize(
    "text", ["model_config_lst {}", "model_config_list {", "model_config_list { config { name: 3 } }"]
)
def test_the_error_names_a_file_that_is_not_a_config(tmp_path, text):
    with pytest.raises(
        UsageError, match=r"models.config: Error parsing text-format tensorflow.serving.ModelServerConfig: 1:\d+: "
    ):
        read(tmp_path, text)


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match="/nowhere: No such file or directory"):
        model_config.read("/nowhere")


AVAILABLE = {"m": frozenset([1, 2])}


@pytest.mark.parametrize(
    ("before", "labels", "allow_new", "accepted"),
    [
        ({}, {"a": 1}, False, True),
        ({}, {"a": 3}, False, False),
        ({}, {"a": 3}, True, True),
        ({"a": 1}, {"a": 2}, False, True),
        ({"a": 1}, {"a": 3}, True, False),  # an existing label moves to an available version only
        ({"a": 3}, {"a": 3}, True, True),
        ({"a": 1}, {}, False, True),
    ],
)
def test_a_label_must_name_an_available_version(before, labels, allow_new, accepted):
    config = Config({"m": Model("m", "/m", labels=labels)})
    old_labels = {"m": before} if before else {}
    if accepted:
        assert model_config.check_labels(config, old_labels, AVAILABLE, allow_new) == ({"m": labels} if labels else {})
    else:
        with pytest.raises(RequestError, match="Request to assign label to version 3 of model m"):
            model_config.check_labels(config, old_labels, AVAILABLE, allow_new)


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Latest(), [10]),
        (Latest(2), [3, 10]),
        (Latest(9), [1, 2, 3, 10]),
        (All(), [1, 2, 3, 10]),
        (Specific(frozenset([2, 7])), [2]),
        (Specific(frozenset()), []),
    ],
)
def test_a_policy_chooses_among_the_versions(policy, chosen):
    assert models_config.choose(dict.fromkeys([3, 10, 1, 2], ""), policy) == chosen


@pytest.mark.parametrize(
    ("names", "versions"),
    [
        (["1", "20", "3"], {1: "1", 20: "20", 3: "3"}),
        (["001", "1"], {1: "1"}),
        (["0", "v1", "1a", "-1", "+1", " 1", "1.0", "", ".incoming-1", "..", "१"], {0: "0"}),
        ([str(2**63 - 1), str(2**63), "9" * 40], {2**63 - 1: str(2**63 - 1)}),
    ],
)
def test_only_numbers_are_versions(names, versions):
    assert version_folders.numbered_folders(names) == versions


def test_only_folders_within_the_base_path_are_served(tmp_path):
    base, outside = tmp_path / "m", tmp_path / "outside"
    outside.mkdir()
    (base / "..data" / "3").mkdir(parents=True)
    (base / "1").mkdir()
    (base / "2").write_text("a file")
    (base / "3").symlink_to(base / "..data" / "3")  # the layout of volumes in Kubernetes
    (base / "4").symlink_to(outside)
    (base / "5").symlink_to(tmp_path / "nowhere")
    assert list(version_folders.aspired_versions(Model("m", str(base), All()))) == [1, 3]


@pytest.mark.parametrize(
    ("link", "to", "allowed"),
    [
        ("saved_model.pb", "../..shared/weights", True),
        ("variables", "../..shared", True),
        ("saved_model.pb", "../../outside/secret", False),
        ("variables", "../../outside", False),
        ("variables", "/etc", False),
        ("saved_model.pb", "../../m-other/file", False),  # has the base path as a prefix
        ("variables", "../..shared/loop", True),
        ("variables", "../..more", False),
    ],
)
def test_a_version_must_not_link_out_of_the_base_path(tmp_path, link, to, allowed):
    base = tmp_path / "m"
    for folder in (base / "1", base / "..shared", tmp_path / "outside", tmp_path / "m-other"):
        folder.mkdir(parents=True)
    (base / "..shared" / "loop").symlink_to(base / "..shared")
    (base / "..more").mkdir()
    (base / "..more" / "out").symlink_to(tmp_path / "outside")
    (base / "1" / link).symlink_to(to)
    if allowed:
        version_folders.check_inside(str(base / "1"))
    else:
        with pytest.raises(RequestError, match="leads out of") as error:
            version_folders.check_inside(str(base / "1"))
        assert error.value.code is Code.PERMISSION_DENIED


def test_a_base_path_may_be_a_link(tmp_path):
    (tmp_path / "real" / "1").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list(version_folders.aspired_versions(Model("m", str(tmp_path / "link")))) == [1]


def parameters(tmp_path, text: str):
    (tmp_path / "batching").write_text(text)
    return batching_limits.read_parameters(str(tmp_path / "batching"), 1024)


def test_batching_parameters_become_limits(tmp_path):
    text = """
        max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } max_enqueued_batches { value: 3 }
        num_batch_threads { value: 2 } allowed_batch_sizes: 2 allowed_batch_sizes: 8
        thread_pool_name { value: "any" } pad_variable_length_inputs: true
    """
    limits, warnings = parameters(tmp_path, text)
    assert limits == BatchLimits(8, refuse_larger=True, timeout=0.002, max_queue=24, threads=2, allowed_rows=(2, 8))
    assert len(warnings) == 1
    assert "pad_variable_length_inputs is not honoured" in warnings[0]


def test_batching_has_tf_servings_defaults(tmp_path):
    assert parameters(tmp_path, "")[0] == batching_limits.read_parameters("", 1024)[0]
    assert batching_limits.read_parameters("", 1024)[0].max_rows == 1000


@pytest.mark.parametrize(
    "text",
    [
        "max_batch_size { value: 0 }",
        "max_batch_size { value: 8 } allowed_batch_sizes: 4",
        "max_batch_size { value: 8 } allowed_batch_sizes: 8 allowed_batch_sizes: 4",
        "max_batch { value: 8 }",
    ],
)
def test_batching_parameters_that_contradict_each_other_are_refused(tmp_path, text):
    with pytest.raises(UsageError, match="batching: "):
        parameters(tmp_path, text)


def test_our_message_classes_are_made_once_and_have_nested_messages():
    first, second = (text_protos.message_class("SSLConfig") for _ in range(2))
    assert first is second
    assert text_protos.message_class("MonitoringConfig")().prometheus_config.path == ""
