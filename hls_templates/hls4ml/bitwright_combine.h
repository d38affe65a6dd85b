// SPDX-License-Identifier: Apache-2.0
// y = a + b, a - b or a * b, element by element and exact; an operand is repeated along the axes where its size is 1.
#ifndef BITWRIGHT_COMBINE_H_
#define BITWRIGHT_COMBINE_H_

#include "bitwright_streams.h"

namespace bitwright {

struct sum_of {
    template <class a_T, class b_T, class y_T> static void apply(const a_T &a, const b_T &b, y_T &y) { y = a + b; }
};

struct difference_of {
    template <class a_T, class b_T, class y_T> static void apply(const a_T &a, const b_T &b, y_T &y) { y = a - b; }
};

struct product_of {
    template <class a_T, class b_T, class y_T> static void apply(const a_T &a, const b_T &b, y_T &y) { y = a * b; }
};

// CONFIG_T::element: one of the above. CONFIG_T::size: the result's axes. CONFIG_T::stride_a, stride_b: elements of the
// operand between neighbours along each axis, 0 where it is repeated.
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void combine(a_T a[CONFIG_T::n_a], b_T b[CONFIG_T::n_b], res_T res[CONFIG_T::n_out]) {
    #pragma HLS PIPELINE
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_out; i++) {
        #pragma HLS UNROLL
        int rest = i;
        int source_a = 0;
        int source_b = 0;
    Axes:
        for (int axis = CONFIG_T::n_axes - 1; axis >= 0; axis--) {
            #pragma HLS UNROLL
            const int c = rest % CONFIG_T::size[axis];
            rest /= CONFIG_T::size[axis];
            source_a += c * CONFIG_T::stride_a[axis];
            source_b += c * CONFIG_T::stride_b[axis];
        }
        CONFIG_T::element::apply(a[source_a], b[source_b], res[i]);
    }
}

// The same on streams: one packet a clock. CONFIG_T::depth_a, depth_b: packets of the operand that have to be kept.
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void combine(stream<a_T> &a, stream<b_T> &b, stream<res_T> &res) {
    const int n_axes = CONFIG_T::n_axes;
    recent_packets<a_T, CONFIG_T::depth_a> recent_a;
    recent_packets<b_T, CONFIG_T::depth_b> recent_b;
    int place[n_axes];
    for (int axis = 0; axis < n_axes; axis++)
        place[axis] = 0;
Packets:
    for (unsigned i = 0; i < CONFIG_T::n_out / res_T::size; i++) {
        #pragma HLS PIPELINE
        int source_a = 0;
        int source_b = 0;
    Axes:
        for (int axis = 0; axis < n_axes - 1; axis++) {
            #pragma HLS UNROLL
            source_a += place[axis] * (CONFIG_T::stride_a[axis] / int(a_T::size));
            source_b += place[axis] * (CONFIG_T::stride_b[axis] / int(b_T::size));
        }
        if (!recent_a.has(source_a))
            recent_a.take(a);
        if (!recent_b.has(source_b))
            recent_b.take(b);
        res_T packet;
        PRAGMA_DATA_PACK(packet)
    Lanes:
        for (unsigned lane = 0; lane < res_T::size; lane++) {
            #pragma HLS UNROLL
            CONFIG_T::element::apply(recent_a.element(source_a, lane * CONFIG_T::stride_a[n_axes - 1]),
                                     recent_b.element(source_b, lane * CONFIG_T::stride_b[n_axes - 1]), packet[lane]);
        }
        res.write(packet);
        bool carry = true;
    Places:
        for (int axis = n_axes - 2; axis >= 0; axis--) {
            #pragma HLS UNROLL
            if (carry) {
                carry = place[axis] == CONFIG_T::size[axis] - 1;
                place[axis] = carry ? 0 : place[axis] + 1;
            }
        }
    }
}

} // namespace bitwright

#endif
