# SPDX-License-Identifier: Apache-2.0
"""Identifiers for generated code, made from names that nobody has checked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: Words that Verilog, SystemVerilog, VHDL, C++ or Tcl would take for their own; compared in lower case.
_RESERVED = frozenset(
    """
    alias always always_comb always_ff always_latch and array as asm assert assign assume auto automatic before begin
    bind bit bool break buf byte case casex casez catch cell char class clk clocking config const constraint continue
    cover default defparam delete design disable dist do double edge else end endcase endclass endfunction endgenerate
    endmodule endtask entity enum eval event expect explicit export extern false file final first_match float for force
    foreach forever fork friend function generate genvar global goto if iff import in inline inout input inside instance
    int integer interface intersect join large liblist library local localparam logic long macromodule matches medium
    modport module mutable namespace nand negedge new nmos nor not notif0 notif1 null operator or out output package
    packed parameter pmos posedge primitive priority private process program property protected public pull0 pull1 pure
    rand real realtime reg register release repeat return rst sequence set short signal signed sizeof small solve source
    specify specparam static std strong0 strong1 struct super supply0 supply1 switch table tagged task template this
    throw time top tran tri true try type typedef typename union unique unsigned use using var variable vectored virtual
    void volatile wait wand weak0 weak1 while wildcard wire with within wor xnor xor
    """.split()
)


def identifiers(names: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """One identifier for each name: ASCII letters, digits and single underscores, at most 48 characters, first a
    letter, not a reserved word of a target language, and different from all others even where case is ignored.

    reserved: further words that are taken. The same names in the same order always give the same identifiers.
    """
    taken = {word.lower() for word in reserved} | _RESERVED
    result: dict[str, str] = {}
    for name in names:
        if name in result:
            continue
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        base = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", ascii_name)).strip("_")[:48].rstrip("_")
        if not base or not base[0].isalpha():
            base = f"n_{base}".rstrip("_")
        candidate, number = base, 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{base}_{number}"
        taken.add(candidate.lower())
        result[name] = candidate
    return result
