# SPDX-License-Identifier: Apache-2.0
"""What the benches of the host link share; independent of the toolchain package."""
