"""Benison's chain with one component more."""

from data_card import DataCard
from tfx.orchestration.pipeline import Pipeline

from benison import LocalRunner, build, load_config

ROOT = ".benison"


def create():
    """Return the chain of penguins.yaml, in which Transform waits for a DataCard."""
    chain = build(load_config("penguins.yaml"), ROOT)
    nodes = {node.id: node for node in chain.components}
    card = DataCard(statistics=nodes["StatisticsGen"].outputs["statistics"], least_rows=100)
    nodes["Transform"].add_upstream_node(card)
    return Pipeline(
        pipeline_name=chain.pipeline_info.pipeline_name,
        pipeline_root=chain.pipeline_info.pipeline_root,
        components=[*chain.components, card],
        enable_cache=True,
    )


if __name__ == "__main__":
    run = LocalRunner(ROOT).run(create())
    print(run.outcome)
    for artifact in run.outputs("String"):
        with open(artifact["uri"]) as file:
            print(file.read())
