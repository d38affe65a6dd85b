# SPDX-License-Identifier: Apache-2.0
"""Run in the folder of a written FINN project: those of FINN's builder's steps that need no tool of AMD, and FIFO insertion.

FINN's builder imports `finn.xsi`, the simulator of a Vivado that is not here; its one name that is imported stands for nothing, and
whoever would use it fails. Everything else is FINN's own. Prints JSON: the nodes with their attributes, and the FIFOs' depths.
"""

import json
import os
import sys
import types
from pathlib import Path


class Absent:
    def __init__(self, *arguments: object, **named: object) -> None:
        raise RuntimeError("AMD's simulator is not here")


def main() -> None:
    work = Path(sys.argv[1])
    os.environ |= {"FINN_BUILD_DIR": str(work), "HOME": str(work)}
    from finn.util.settings import initialize_dummy_settings

    initialize_dummy_settings()
    simulator = types.ModuleType("finn.xsi")
    simulator.SimEngine = Absent  # type: ignore[attr-defined]
    sys.modules["finn.xsi"] = simulator
    import finn

    finn.xsi = simulator
    from finn.builder.build_dataflow_config import DataflowBuildConfig
    from finn.builder.build_dataflow_steps import build_dataflow_step_lookup
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO
    from finn.transformation.fpgadataflow.set_fifo_depths import ApplyFIFODepthsFromFile
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.general import GiveUniqueNodeNames

    configuration = DataflowBuildConfig.from_yaml(Path("build.yml").read_text())
    model = ModelWrapper("model.onnx")
    run = []
    for step in configuration.steps:
        if step == "step_generate_hardware":
            break
        model = build_dataflow_step_lookup[step](model, configuration)
        run.append(step)
    nodes = {}
    for node in model.graph.node:
        operator = getCustomOp(node)
        known = operator.get_nodeattr_types()
        names = [name for name in ("SIMD", "PE", "inFIFODepths", "outFIFODepths") if name in known]
        nodes[node.name] = {name: operator.get_nodeattr(name) for name in names}
        nodes[node.name]["word"] = operator.get_output_datatype().name
    # What the next step does between generating IP, for which it needs Vivado: see FINN's step_set_fifo_depths.
    part = configuration._resolve_fpga_part()
    for transformation in (
        InsertDWC(),
        InsertFIFO(create_shallow_fifos=True),
        SpecializeLayers(part),
        GiveUniqueNodeNames(),
    ):
        model = model.transform(transformation)
    if not configuration.auto_fifo_depths:
        model = model.transform(ApplyFIFODepthsFromFile(configuration.fifo_config_file))
    fifos = {
        node.name: getCustomOp(node).get_nodeattr("depth") for node in model.get_nodes_by_op_type("StreamingFIFO_rtl")
    }
    found = {"steps": run, "nodes": nodes, "fifos": fifos, "auto_fifo_depths": configuration.auto_fifo_depths}
    Path(sys.argv[2]).write_text(json.dumps(found, default=lambda values: [int(value) for value in values]))


if __name__ == "__main__":
    main()
