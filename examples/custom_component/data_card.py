"""The component. It lives in a module, because the processes that run nodes import it."""

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import ExampleStatistics, String


@component
def DataCard(
    statistics: InputArtifact[ExampleStatistics], card: OutputArtifact[String], least_rows: Parameter[int] = 100
):
    """Write a data card as Markdown, and fail if the split `train` has too few rows."""
    import tensorflow_data_validation as tfdv

    stats = tfdv.load_stats_binary(f"{statistics.uri}/Split-train/FeatureStats.pb").datasets[0]
    if stats.num_examples < least_rows:
        raise ValueError(f"train has {stats.num_examples} rows, expected at least {least_rows}")
    lines = [f"# {stats.num_examples} rows", "", "| column | missing |", "|---|---|"]
    for feature in stats.features:
        common = (feature.num_stats if feature.HasField("num_stats") else feature.string_stats).common_stats
        lines.append(f"| {feature.path.step[0]} | {common.num_missing} |")
    card.value = "\n".join(lines)
