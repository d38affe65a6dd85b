# SPDX-License-Identifier: Apache-2.0
"""Model of the port through which constants are replaced; what each memory has of its own is in memories.py."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters

#: LUTs of an address bit, as Yosys 0.70 maps addresses of 8 to 20 bits.
_LUTS = {"ecp5": 3.6, "xc7": 1.9}


def axi_lite_load(p: Parameters) -> Bill:
    bill = Bill()
    bill.luts("load.address_bits", _LUTS[p.family] * p["ADDRESS_WIDTH"])
    # Data twice, strobes, handshakes and answers; and the address twice.
    bill.ffs("load.registers", 74 + 2 * p["ADDRESS_WIDTH"])
    return bill


MODULES = {"axi_lite_load": axi_lite_load}
