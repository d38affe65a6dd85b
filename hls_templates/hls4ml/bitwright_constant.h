// SPDX-License-Identifier: Apache-2.0
// y = values: a tensor that is the same for every sample.
#ifndef BITWRIGHT_CONSTANT_H_
#define BITWRIGHT_CONSTANT_H_

#include "bitwright_common.h"

namespace bitwright {

template <class res_T, typename CONFIG_T>
void constant(res_T res[CONFIG_T::n_constants], const typename CONFIG_T::constant_t values[CONFIG_T::n_constants]) {
    #pragma HLS PIPELINE
    #pragma HLS ARRAY_PARTITION variable=values complete
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_constants; i++) {
        #pragma HLS UNROLL
        res[i] = values[i];
    }
}

template <class res_T, typename CONFIG_T>
void constant(stream<res_T> &res, const typename CONFIG_T::constant_t values[CONFIG_T::n_constants]) {
Packets:
    for (unsigned i = 0; i < CONFIG_T::n_constants; i += res_T::size) {
        #pragma HLS PIPELINE
        res_T packet;
        PRAGMA_DATA_PACK(packet)
        for (unsigned j = 0; j < res_T::size; j++) {
            #pragma HLS UNROLL
            packet[j] = values[i + j];
        }
        res.write(packet);
    }
}

} // namespace bitwright

#endif
