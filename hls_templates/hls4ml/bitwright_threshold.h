// SPDX-License-Identifier: Apache-2.0
// y[..., c] = offset + #{t : thresholds[c][t] <= x[..., c]}: the count of thresholds not above the value.
// All comparisons of one element happen at once; their outcomes are added up.
#ifndef BITWRIGHT_THRESHOLD_H_
#define BITWRIGHT_THRESHOLD_H_

#include "bitwright_common.h"

namespace bitwright {

// CONFIG_T::constant_t: the thresholds' type, with the input's binary point.
// CONFIG_T::n_thresholds: thresholds of one channel, ascending. CONFIG_T::per_channel: false if one row serves all.
// CONFIG_T::integer_t: a signed integer that holds the offset and every result. CONFIG_T::offset: result below all.
template <typename CONFIG_T> struct threshold {
    template <class x_T, class y_T>
    static void apply(const x_T &x, unsigned channel, const typename CONFIG_T::constant_t *thresholds, y_T &y) {
        #pragma HLS INLINE
        const unsigned row = CONFIG_T::per_channel ? channel * CONFIG_T::n_thresholds : 0;
        typename CONFIG_T::integer_t result = CONFIG_T::offset;
    Thresholds:
        for (unsigned t = 0; t < CONFIG_T::n_thresholds; t++) {
            #pragma HLS UNROLL
            if (thresholds[row + t] <= x)
                result += 1;
        }
        set_integer(y, result);
    }
};

} // namespace bitwright

#endif
