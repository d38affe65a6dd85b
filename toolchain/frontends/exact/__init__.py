# SPDX-License-Identifier: Apache-2.0
"""Real arithmetic of quantised networks, carried exactly down to integers: what all frontends build the graph with.

A tensor on the way is a `Line`: integers in the graph and the exact rational meaning of each. Products with constants,
biases and batch norms only change the meaning; matrix products and convolutions are integer products; a quantiser turns
meaning back into integers, by a shift where one is exact, else by thresholds or a table.
"""
