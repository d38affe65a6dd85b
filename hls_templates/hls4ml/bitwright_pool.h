// SPDX-License-Identifier: Apache-2.0
// y[p, c] = the largest of, or the sum of, the values x[p * strides + k * dilation, c] under a window: exact.
#ifndef BITWRIGHT_POOL_H_
#define BITWRIGHT_POOL_H_

#include "bitwright_windows.h"

namespace bitwright {

template <typename CONFIG_T> struct largest_of {
    template <class x_T, class y_T> static void apply(const x_T *patch, const no_constants &, y_T *y) {
        #pragma HLS INLINE
        for (unsigned c = 0; c < CONFIG_T::n_channels; c++) {
            #pragma HLS UNROLL
            x_T largest = patch[c];
            for (unsigned tap = 1; tap < CONFIG_T::n_taps; tap++) {
                #pragma HLS UNROLL
                const x_T other = patch[tap * CONFIG_T::n_channels + c];
                if (other > largest)
                    largest = other;
            }
            y[c] = largest;
        }
    }
};

template <typename CONFIG_T> struct total_of {
    template <class x_T, class y_T> static void apply(const x_T *patch, const no_constants &, y_T *y) {
        #pragma HLS INLINE
        for (unsigned c = 0; c < CONFIG_T::n_channels; c++) {
            #pragma HLS UNROLL
            typename CONFIG_T::accum_t total = 0;
            for (unsigned tap = 0; tap < CONFIG_T::n_taps; tap++) {
                #pragma HLS UNROLL
                total += patch[tap * CONFIG_T::n_channels + c];
            }
            y[c] = total;
        }
    }
};

template <class data_T, class res_T, typename CONFIG_T>
void pool(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_positions * CONFIG_T::n_outputs]) {
    #pragma HLS PIPELINE
    slide<data_T, res_T, CONFIG_T>(data, res, no_constants());
}

template <class data_T, class res_T, typename CONFIG_T> void pool(stream<data_T> &data, stream<res_T> &res) {
    slide_stream<CONFIG_T::whole_tensor>::template run<data_T, res_T, CONFIG_T>(data, res, no_constants());
}

} // namespace bitwright

#endif
