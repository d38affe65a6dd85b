// SPDX-License-Identifier: Apache-2.0
// The words and streams of AMD's and Microchip's HLS: ap_int, ap_fixed, hls::stream.
#ifndef BITWRIGHT_PLATFORM_H_
#define BITWRIGHT_PLATFORM_H_

#include "ap_fixed.h"
#include "ap_int.h"
#include "hls_stream.h"
#include "nnet_common.h"
#include "nnet_types.h"

namespace bitwright {

// Integers of W bits, fixed-point numbers of W bits of which I are left of the binary point, and streams.
template <int W> using integer = ap_int<W>;
template <int W> using natural = ap_uint<W>;
template <int W, int I> using fixed = ap_fixed<W, I>;
template <class packet_T> using stream = hls::stream<packet_T>;

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

// Make `y` the word whose bits are the lowest ones of `integer`.
template <class fixed_T, class integer_T> void set_integer(fixed_T &y, const integer_T &integer) {
    #pragma HLS INLINE
    const ap_uint<fixed_T::width> word = integer;
    y.range(fixed_T::width - 1, 0) = word;
}

// Whether packets are left in a stream; simulation only.
template <class packet_T> bool holds_packets(stream<packet_T> &data) { return !data.empty(); }

} // namespace bitwright

#endif
