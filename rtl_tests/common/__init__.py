# SPDX-License-Identifier: Apache-2.0
"""What the benches of the streaming kernels share; independent of the toolchain package.

`case` describes an instance under test, `contract` predicts its handshake cycle by cycle, `simulate` builds and runs all
cases of a bench in one simulation, and `stream_bench` holds the cocotb tests that every case has to pass.
"""
