// SPDX-License-Identifier: Apache-2.0
// The words and streams of Siemens' Catapult: ac_int, ac_fixed, ac_channel.
#ifndef BITWRIGHT_PLATFORM_H_
#define BITWRIGHT_PLATFORM_H_

#include "ac_channel.h"
#include "ac_fixed.h"
#include "ac_int.h"
#include "nnet_types.h"

#define PRAGMA_DATA_PACK(variable)

namespace bitwright {

// Integers of W bits, fixed-point numbers of W bits of which I are left of the binary point, and streams.
template <int W> using integer = ac_int<W, true>;
template <int W> using natural = ac_int<W, false>;
template <int W, int I> using fixed = ac_fixed<W, I, true>;
template <class packet_T> using stream = ac_channel<packet_T>;

// The integer that a fixed-point word stands for when its binary point is ignored.
template <int W, int I, bool S, ac_q_mode Q, ac_o_mode O> ac_int<W, S> integer_of(const ac_fixed<W, I, S, Q, O> &x) {
    return x.template slc<W>(0);
}

// Make `y` the word whose bits are the lowest ones of `integer`.
template <class fixed_T, class integer_T> void set_integer(fixed_T &y, const integer_T &integer) {
    const ac_int<fixed_T::width, false> word = integer;
    y.set_slc(0, word);
}

// Whether packets are left in a stream; simulation only.
template <class packet_T> bool holds_packets(stream<packet_T> &data) { return !data.empty(); }

} // namespace bitwright

#endif
