# SPDX-License-Identifier: Apache-2.0
"""The operations, one a file. See `toolchain.ir.operation` for what a file has to hold."""
