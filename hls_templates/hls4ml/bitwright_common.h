// SPDX-License-Identifier: Apache-2.0
// Integers behind ap_fixed values, and the plumbing that every element-by-element layer shares.
#ifndef BITWRIGHT_COMMON_H_
#define BITWRIGHT_COMMON_H_

#include "ap_fixed.h"
#include "ap_int.h"
#include "hls_stream.h"
#include "nnet_common.h"
#include "nnet_types.h"

namespace bitwright {

// The integer that a fixed-point word stands for when its binary point is ignored.
template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> ap_int<W> integer_of(const ap_fixed<W, I, Q, O, N> &x) {
    #pragma HLS INLINE
    ap_int<W> integer;
    integer.range(W - 1, 0) = x.range(W - 1, 0);
    return integer;
}

template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> ap_uint<W> integer_of(const ap_ufixed<W, I, Q, O, N> &x) {
    #pragma HLS INLINE
    ap_uint<W> integer;
    integer.range(W - 1, 0) = x.range(W - 1, 0);
    return integer;
}

// Make `y` the word that holds `integer`, which has to lie in its range.
template <class fixed_T, class integer_T> void set_integer(fixed_T &y, const integer_T &integer) {
    #pragma HLS INLINE
    const ap_uint<fixed_T::width> word = integer;
    y.range(fixed_T::width - 1, 0) = word;
}

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
                 typename CONFIG_T::constant_t constants[CONFIG_T::n_constants]) {
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
void elementwise(hls::stream<data_T> &data, hls::stream<res_T> &res) {
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
void elementwise(hls::stream<data_T> &data, hls::stream<res_T> &res,
                 typename CONFIG_T::constant_t constants[CONFIG_T::n_constants]) {
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
