// SPDX-License-Identifier: Apache-2.0
// The plumbing that every element-by-element layer shares.
#ifndef BITWRIGHT_COMMON_H_
#define BITWRIGHT_COMMON_H_

#include "bitwright_platform.h"

namespace bitwright {

// y[i] = element(x[i]) on an array: all elements at once, a new array every clock.
template <class data_T, class res_T, typename CONFIG_T>
void elementwise(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in]) {
    #pragma HLS PIPELINE
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        CONFIG_T::element::apply(data[i], res[i]);
    }
}

// The same with constants: the element also gets its channel, the place on the last axis, to find its own among them.
template <class data_T, class res_T, typename CONFIG_T>
void elementwise(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in],
                 const typename CONFIG_T::constant_t constants[CONFIG_T::n_constants]) {
    #pragma HLS PIPELINE
    #pragma HLS ARRAY_PARTITION variable=constants complete
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        CONFIG_T::element::apply(data[i], i % CONFIG_T::n_channels, constants, res[i]);
    }
}

// The same on a stream whose packets hold the last axis: one packet a clock.
template <class data_T, class res_T, typename CONFIG_T>
void elementwise(stream<data_T> &data, stream<res_T> &res) {
Packets:
    for (unsigned i = 0; i < CONFIG_T::n_in / res_T::size; i++) {
        #pragma HLS PIPELINE
        data_T in_packet = data.read();
        res_T out_packet;
        PRAGMA_DATA_PACK(out_packet)
    Elements:
        for (unsigned j = 0; j < res_T::size; j++) {
            #pragma HLS UNROLL
            CONFIG_T::element::apply(in_packet[j], out_packet[j]);
        }
        res.write(out_packet);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void elementwise(stream<data_T> &data, stream<res_T> &res,
                 const typename CONFIG_T::constant_t constants[CONFIG_T::n_constants]) {
    #pragma HLS ARRAY_PARTITION variable=constants complete
Packets:
    for (unsigned i = 0; i < CONFIG_T::n_in / res_T::size; i++) {
        #pragma HLS PIPELINE
        data_T in_packet = data.read();
        res_T out_packet;
        PRAGMA_DATA_PACK(out_packet)
    Elements:
        for (unsigned j = 0; j < res_T::size; j++) {
            #pragma HLS UNROLL
            CONFIG_T::element::apply(in_packet[j], j, constants, out_packet[j]);
        }
        res.write(out_packet);
    }
}

} // namespace bitwright

#endif
