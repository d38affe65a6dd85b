// SPDX-License-Identifier: Apache-2.0
// y[..., c] = x[..., c] * factor[c], exact: the result type holds every product.
#ifndef BITWRIGHT_SCALE_H_
#define BITWRIGHT_SCALE_H_

#include "bitwright_common.h"

namespace bitwright {

// CONFIG_T::constant_t: the factors' type. CONFIG_T::per_channel: false if one factor serves all channels.
template <typename CONFIG_T> struct scale {
    template <class x_T, class y_T>
    static void apply(const x_T &x, unsigned channel, const typename CONFIG_T::constant_t *factors, y_T &y) {
        #pragma HLS INLINE
        y = x * factors[CONFIG_T::per_channel ? channel : 0];
    }
};

} // namespace bitwright

#endif
