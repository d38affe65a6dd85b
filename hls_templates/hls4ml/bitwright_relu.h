// SPDX-License-Identifier: Apache-2.0
// y = min(x if x >= 0 else slope * x, bound), with a slope of 0 or 2**-shift: exact, on integers.
#ifndef BITWRIGHT_RELU_H_
#define BITWRIGHT_RELU_H_

#include "bitwright_common.h"

namespace bitwright {

// CONFIG_T::integer_t: a signed integer that holds x << shift for every x. CONFIG_T::shift: the result has that many
// more fraction bits than x. CONFIG_T::leaky: false for a slope of 0.
// CONFIG_T::bounded: whether CONFIG_T::bound, an integer at the result's binary point, applies.
template <typename CONFIG_T> struct relu {
    template <class x_T, class y_T> static void apply(const x_T &x, y_T &y) {
        #pragma HLS INLINE
        typename CONFIG_T::integer_t integer = integer_of(x);
        if (integer >= 0)
            integer <<= CONFIG_T::shift;
        else if (!CONFIG_T::leaky)
            integer = 0;
        if (CONFIG_T::bounded && integer > CONFIG_T::bound)
            integer = CONFIG_T::bound;
        set_integer(y, integer);
    }
};

} // namespace bitwright

#endif
