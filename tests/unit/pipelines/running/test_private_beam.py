"""A canary: the private parts of Beam and dill that Benison changes still exist and still do the same.

A failure here means that this Beam has changed one of them. Fix it in private_beam.py.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions
from apache_beam.transforms import userstate
from apache_beam.transforms.userstate import BagStateSpec

from benison.pipelines.running import private_beam

# Runs a pipeline with state, a side input and a DoFn that holds a bound method, then prints the result.
_PIPELINE = """
import sys
import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.transforms.userstate import BagStateSpec
import logging, sys
if sys.argv[1] == "fast":
    from benison.pipelines.running import private_beam
    private_beam.speed_up()
    private_beam.speed_up()
    private_beam.pickle_uncompressed()

class Seen(beam.DoFn):
    SEEN = BagStateSpec("seen", VarIntCoder())
    def process(self, pair, seen=beam.DoFn.StateParam(SEEN)):
        seen.add(pair[1])
        yield pair[0], sorted(seen.read())

class Adder:
    def __init__(self, by): self.by = by
    def add(self, number, more): return number + self.by + sum(more)

with beam.Pipeline(runner=FnApiRunner()) as pipeline:
    numbers = pipeline | beam.Create([1, 2, 3])
    side = pipeline | "side" >> beam.Create([10, 20])
    (numbers
     | beam.Map(Adder(100).add, beam.pvalue.AsList(side))
     | beam.Map(lambda number: ("all", number))
     | beam.ParDo(Seen())
     | beam.GroupByKey()
     | beam.Map(lambda group: print(group[0], sorted(group[1]))))
print("quiet", worker_handlers.STATE_CACHE_SIZE_MB)
"""


def output(speed: str) -> list[str]:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _PIPELINE, speed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_a_pipeline_with_state_side_inputs_and_bound_methods_gives_the_same() -> None:
    result, _ = output("as-is")
    fast, changed = output("fast")
    assert fast == result == "all [[131], [131, 132], [131, 132, 133]]"
    assert changed.split()[1] == "0"


def test_specs_are_those_of_the_class_unless_the_object_holds_a_bound_method() -> None:
    class Plain(beam.DoFn):
        def process(self, element: Any) -> Any:
            yield element

    class Stateful(beam.DoFn):
        SEEN = BagStateSpec("seen", beam.coders.VarIntCoder())
        STATE = beam.DoFn.StateParam(SEEN)

        def process(self, element: Any, seen: Any = STATE) -> Any:
            yield element

    asked: list[Any] = []

    def get_specs(dofn: Any) -> Any:
        asked.append(dofn)
        return userstate.get_dofn_specs(dofn)

    cached = private_beam.by_class(get_specs)
    holder = Plain()
    holder.process = Stateful().process  # type: ignore[method-assign]
    for dofn in (Plain(), Plain(), Stateful(), Stateful(), holder, holder):
        assert cached(dofn) == userstate.get_dofn_specs(dofn)
    assert len(asked) == 4
    assert cached(holder)[0] == {Stateful.SEEN}
    assert cached(Plain()) == (set(), set())


def test_views_of_options_are_those_of_beam_and_keep_what_was_set() -> None:
    flags = ["--experiments=one", "--streaming", "--unknown=1"]
    options, other = PipelineOptions(flags), PipelineOptions(flags)
    debug, of_beam = private_beam.view_as(options, DebugOptions), other.view_as(DebugOptions)
    assert isinstance(debug, DebugOptions)
    assert debug.experiments == of_beam.experiments == ["one"]
    assert options.get_all_options() == other.get_all_options()
    debug.add_experiment("two")
    assert private_beam.view_as(options, DebugOptions).experiments == ["one", "two"]
    assert private_beam.view_as(debug, StandardOptions).streaming
    assert private_beam.view_as(PipelineOptions(flags), DebugOptions).experiments == ["one"]


def test_batches_have_less_than_a_thousand_rows_and_less_of_long_rows() -> None:
    code = """
import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from benison.pipelines.running import private_beam
private_beam.speed_up()
from tfx_bsl.coders import batch_util
def sizes(name, row, rows):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (pipeline | beam.Create([row]) | beam.FlatMap(lambda one: [one] * rows)
         | batch_util.BatchRecords(None, None) | beam.Map(len) | beam.combiners.ToList()
         | beam.Map(lambda sizes: print(name, sorted(sizes))))
sizes("short", b"1234", 2300)
sizes("long", b"x" * (5 << 20), 9)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["short [302, 999, 999]", "long [1, 4, 4]"], done.stderr[-3000:]
