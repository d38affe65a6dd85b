// SPDX-License-Identifier: Apache-2.0
// y = overflow(round(x)) for the pairs of rounding and overflow that no single ap_fixed assignment has.
#ifndef BITWRIGHT_REQUANTISE_H_
#define BITWRIGHT_REQUANTISE_H_

#include "bitwright_common.h"

namespace bitwright {

// CONFIG_T::exact_t: signed, x's binary point, wide enough for x and -x, and wider than the bits that are dropped.
// CONFIG_T::nonnegative_t, negative_t: signed, the result's binary point, wide enough for every rounded value and for
//     both bounds; their quantisation modes are how x >= 0 and x < 0 are rounded.
// CONFIG_T::up: x >= 0 is rounded upwards instead; ap_fixed has no such mode, but truncation of -x is it, mirrored.
// CONFIG_T::clamped, zeroed: values outside [lowest, highest] become the nearest bound, or 0.
// CONFIG_T::fitted_t: the result's word with the overflow mode for what is then left.
template <typename CONFIG_T> struct requantise {
    template <class x_T, class y_T> static void apply(const x_T &x, y_T &y) {
        #pragma HLS INLINE
        typedef typename CONFIG_T::nonnegative_t rounded_T;
        const typename CONFIG_T::exact_t exact = x;
        rounded_T rounded;
        if (exact < 0) {
            const typename CONFIG_T::negative_t negative = exact;
            rounded = negative;
        } else if (CONFIG_T::up) {
            const typename CONFIG_T::exact_t mirrored = -exact;
            const typename CONFIG_T::floor_t floor = mirrored;
            rounded = -floor;
        } else {
            rounded = exact;
        }
        if (CONFIG_T::clamped || CONFIG_T::zeroed) {
            const ap_int<rounded_T::width> integer = integer_of(rounded);
            if (integer < CONFIG_T::lowest)
                set_integer(rounded, ap_int<rounded_T::width>(CONFIG_T::zeroed ? 0 : CONFIG_T::lowest));
            else if (integer > CONFIG_T::highest)
                set_integer(rounded, ap_int<rounded_T::width>(CONFIG_T::zeroed ? 0 : CONFIG_T::highest));
        }
        const typename CONFIG_T::fitted_t fitted = rounded;
        y = fitted;
    }
};

} // namespace bitwright

#endif
