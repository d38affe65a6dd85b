# SPDX-License-Identifier: Apache-2.0
"""Writes an untrained network of CNV's shape: ``python cnv.py {brevitas|qkeras} WIDTH FILE``.

3x32x32 input (the usual order of each framework), six 3x3 convolutions of WIDTH, 2 and 4 times that many channels, two max
poolings, three dense layers; 2-bit weights and activations. WIDTH = 64 has 1.5 million weights (Umuroglu et al., FINN, 2017).
"""

from __future__ import annotations

import sys
from pathlib import Path

PLAN = (1, 1, 0, 2, 2, 0, 4, 4)  # channels in units of WIDTH; 0 is a pooling


def write_brevitas(width: int, file: Path) -> None:
    import torch
    from brevitas import nn
    from torch.nn import BatchNorm1d, BatchNorm2d, Flatten, MaxPool2d, Sequential

    from toolchain.frontends.brevitas import export_module

    torch.manual_seed(1)
    layers: list[torch.nn.Module] = [nn.QuantIdentity(bit_width=8, return_quant_tensor=True)]
    channels = 3
    for factor in PLAN:
        if not factor:
            layers.append(MaxPool2d(2))
            continue
        layers += [
            nn.QuantConv2d(channels, factor * width, 3, bias=False, weight_bit_width=2),
            BatchNorm2d(factor * width),
            nn.QuantReLU(bit_width=2, return_quant_tensor=True),
        ]
        channels = factor * width
    layers.append(Flatten())
    for outputs in (8 * width, 8 * width):
        layers += [
            nn.QuantLinear(channels, outputs, bias=False, weight_bit_width=2),
            BatchNorm1d(outputs),
            nn.QuantReLU(bit_width=2, return_quant_tensor=True),
        ]
        channels = outputs
    layers.append(nn.QuantLinear(channels, 10, bias=False, weight_bit_width=2))
    model = Sequential(*layers)
    model.train()
    with torch.no_grad():
        for _ in range(3):  # running statistics of the batch norms and scales of the activations
            model(torch.rand(16, 3, 32, 32))
    model.eval()
    export_module(model, (3, 32, 32), file)


def write_qkeras(width: int, file: Path) -> None:
    from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras

    qkeras, keras = import_qkeras(), import_tf_keras()
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Input((32, 32, 3)), qkeras.QActivation("quantized_bits(8,0,alpha=1)")]

    def weights() -> object:
        return qkeras.quantized_bits(2, 0, alpha=1)

    for factor in PLAN:
        if not factor:
            layers.append(keras.layers.MaxPooling2D(2))
            continue
        layers += [
            qkeras.QConv2D(factor * width, 3, use_bias=False, kernel_quantizer=weights()),
            keras.layers.BatchNormalization(),
            qkeras.QActivation("quantized_relu(2,1)"),
        ]
    layers.append(keras.layers.Flatten())
    for _ in range(2):
        layers += [
            qkeras.QDense(8 * width, use_bias=False, kernel_quantizer=weights()),
            keras.layers.BatchNormalization(),
            qkeras.QActivation("quantized_relu(2,1)"),
        ]
    layers.append(qkeras.QDense(10, use_bias=False, kernel_quantizer=weights()))
    keras.Sequential(layers).save(file)


if __name__ == "__main__":
    framework, size, path = sys.argv[1:]
    {"brevitas": write_brevitas, "qkeras": write_qkeras}[framework](int(size), Path(path))
