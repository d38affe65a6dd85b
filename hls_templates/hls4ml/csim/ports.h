// SPDX-License-Identifier: Apache-2.0
// The ports of the top function as tuples, the call that takes them, and constants that the project only declares.
#ifndef BITWRIGHT_PORTS_H_
#define BITWRIGHT_PORTS_H_

#include <algorithm>
#include <array>
#include <tuple>

typedef $inputs_t inputs_t;
typedef $outputs_t outputs_t;

$constants

inline void ${top}_emulator(inputs_t &inputs, outputs_t &outputs) {
    $call
}

#endif
