// SPDX-License-Identifier: Apache-2.0
// y = a and b one after the other along an axis, both at the result's binary point.
#ifndef BITWRIGHT_JOIN_H_
#define BITWRIGHT_JOIN_H_

#include "bitwright_common.h"

namespace bitwright {

// CONFIG_T::block_a, block_b: elements of each operand from one place of the axes before the joined one to the next.
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void join(a_T a[CONFIG_T::n_a], b_T b[CONFIG_T::n_b], res_T res[CONFIG_T::n_a + CONFIG_T::n_b]) {
    #pragma HLS PIPELINE
    const unsigned block = CONFIG_T::block_a + CONFIG_T::block_b;
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_a + CONFIG_T::n_b; i++) {
        #pragma HLS UNROLL
        const unsigned outer = i / block;
        const unsigned inner = i % block;
        if (inner < CONFIG_T::block_a)
            res[i] = a[outer * CONFIG_T::block_a + inner];
        else
            res[i] = b[outer * CONFIG_T::block_b + inner - CONFIG_T::block_a];
    }
}

// Along the last axis a packet of each operand makes one of the result; along another one, packets take turns.
template <class a_T, class b_T, class res_T, typename CONFIG_T>
void join(stream<a_T> &a, stream<b_T> &b, stream<res_T> &res) {
    const unsigned packets = (CONFIG_T::n_a + CONFIG_T::n_b) / res_T::size;
    const unsigned packets_a = CONFIG_T::block_a / a_T::size;
    const unsigned packets_b = CONFIG_T::block_b / b_T::size;
    unsigned turn = 0;
Packets:
    for (unsigned i = 0; i < packets; i++) {
        #pragma HLS PIPELINE
        const bool read_a = CONFIG_T::last_axis || turn < packets_a;
        const bool read_b = CONFIG_T::last_axis || !read_a;
        a_T packet_a;
        b_T packet_b;
        res_T packet;
        PRAGMA_DATA_PACK(packet)
        if (read_a)
            packet_a = a.read();
        if (read_b)
            packet_b = b.read();
    Lanes:
        for (unsigned lane = 0; lane < res_T::size; lane++) {
            #pragma HLS UNROLL
            if (read_a && lane < a_T::size)
                packet[lane] = packet_a[lane];
            else
                packet[lane] = packet_b[CONFIG_T::last_axis ? lane - a_T::size : lane];
        }
        res.write(packet);
        turn = turn == packets_a + packets_b - 1 ? 0 : turn + 1;
    }
}

} // namespace bitwright

#endif
