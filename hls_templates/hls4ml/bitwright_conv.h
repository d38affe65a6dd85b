// SPDX-License-Identifier: Apache-2.0
// y[p, o] = sum over window k and inputs i of o's group: x[p * strides + k * dilation, i] * weights[k, i, o]. Exact.
#ifndef BITWRIGHT_CONV_H_
#define BITWRIGHT_CONV_H_

#include "bitwright_windows.h"

namespace bitwright {

// CONFIG_T::group_inputs, group_outputs: channels of one group. CONFIG_T::accum_t: holds every partial sum.
template <typename CONFIG_T> struct weighted_sums {
    template <class x_T, class weight_T, class y_T> static void apply(const x_T *patch, const weight_T *weights, y_T *y) {
        #pragma HLS INLINE
    Outputs:
        for (unsigned o = 0; o < CONFIG_T::n_outputs; o++) {
            #pragma HLS UNROLL
            const unsigned first = o / CONFIG_T::group_outputs * CONFIG_T::group_inputs;
            typename CONFIG_T::accum_t sum = 0;
        Taps:
            for (unsigned tap = 0; tap < CONFIG_T::n_taps; tap++) {
                #pragma HLS UNROLL
                for (unsigned i = 0; i < CONFIG_T::group_inputs; i++) {
                    #pragma HLS UNROLL
                    sum += patch[tap * CONFIG_T::n_channels + first + i] *
                           weights[(tap * CONFIG_T::group_inputs + i) * CONFIG_T::n_outputs + o];
                }
            }
            y[o] = sum;
        }
    }
};

template <class data_T, class res_T, typename CONFIG_T>
void conv(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_positions * CONFIG_T::n_outputs],
          const typename CONFIG_T::constant_t weights[CONFIG_T::n_constants]) {
    #pragma HLS PIPELINE II=CONFIG_T::reuse_factor
    #pragma HLS ARRAY_PARTITION variable=weights complete
    const typename CONFIG_T::constant_t *const held = weights;
    slide<data_T, res_T, CONFIG_T>(data, res, held);
}

template <class data_T, class res_T, typename CONFIG_T>
void conv(stream<data_T> &data, stream<res_T> &res,
          const typename CONFIG_T::constant_t weights[CONFIG_T::n_constants]) {
    #pragma HLS ARRAY_PARTITION variable=weights complete
    const typename CONFIG_T::constant_t *const held = weights;
    slide_stream<CONFIG_T::whole_tensor>::template run<data_T, res_T, CONFIG_T>(data, res, held);
}

} // namespace bitwright

#endif
