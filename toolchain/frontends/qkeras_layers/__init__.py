# SPDX-License-Identifier: Apache-2.0
"""Readers of Keras and QKeras layers, one module a topic.

A layer is added in one place: a function under ``@handles("ClassName", "configuration entry", ...)`` in a module of this
package (see `registry`). The entries are those of the layer's configuration that decide what it computes; a model file may
set them and nothing else (see `qkeras_config`).
"""
