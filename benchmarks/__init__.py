# SPDX-License-Identifier: Apache-2.0
"""Speed and memory, shown by `make bench`: this project and its peers in one run, results committed with versions."""
