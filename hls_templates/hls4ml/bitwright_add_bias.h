// SPDX-License-Identifier: Apache-2.0
// y[..., c] = x[..., c] + bias[c], exact: the sum has all bits of both, and the result type holds every reachable sum.
#ifndef BITWRIGHT_ADD_BIAS_H_
#define BITWRIGHT_ADD_BIAS_H_

#include "bitwright_common.h"

namespace bitwright {

// CONFIG_T::constant_t: the bias's type; one constant a channel.
template <typename CONFIG_T> struct add_bias {
    template <class x_T, class y_T>
    static void apply(const x_T &x, unsigned channel, const typename CONFIG_T::constant_t *bias, y_T &y) {
        #pragma HLS INLINE
        y = x + bias[channel];
    }
};

} // namespace bitwright

#endif
