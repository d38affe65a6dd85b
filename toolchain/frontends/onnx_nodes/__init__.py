# SPDX-License-Identifier: Apache-2.0
"""How each ONNX and QONNX operation is read: one module a topic, every function registered for the operations it reads."""
