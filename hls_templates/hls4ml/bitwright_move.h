// SPDX-License-Identifier: Apache-2.0
// Elements at other places: borders, zeros in between, parts, repetitions, axes in another order.
//
// Along axis a of the result, place c holds the input's element (c * step[a] + start[a]) / repeat[a] of the axis that it
// follows. Where that lies outside, and with `gaps` where the division leaves a remainder, it holds `fill`.
#ifndef BITWRIGHT_MOVE_H_
#define BITWRIGHT_MOVE_H_

#include "bitwright_streams.h"

namespace bitwright {

// The place along the input's axis that place c of the result's axis takes, or -1 for the filling.
template <typename CONFIG_T> int source_along(unsigned axis, int c) {
    #pragma HLS INLINE
    const int place = c * CONFIG_T::step[axis] + CONFIG_T::start[axis];
    if (place < 0 || place >= CONFIG_T::source_size[axis] * CONFIG_T::repeat[axis])
        return -1;
    if (CONFIG_T::gaps && place % CONFIG_T::repeat[axis] != 0)
        return -1;
    return place / CONFIG_T::repeat[axis];
}

// CONFIG_T::n_axes, size, step, start, repeat: as above, one entry for each axis of the result.
// CONFIG_T::source_size: size of the input's axis that this one follows. CONFIG_T::source_stride: elements of the input
// between neighbours along it.
template <class data_T, class res_T, typename CONFIG_T> void move(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_out]) {
    #pragma HLS PIPELINE
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_out; i++) {
        #pragma HLS UNROLL
        int rest = i;
        int source = 0;
        bool inside = true;
    Axes:
        for (int axis = CONFIG_T::n_axes - 1; axis >= 0; axis--) {
            #pragma HLS UNROLL
            const int along = source_along<CONFIG_T>(axis, rest % CONFIG_T::size[axis]);
            rest /= CONFIG_T::size[axis];
            inside = inside && along >= 0;
            source += along * CONFIG_T::source_stride[axis];
        }
        if (inside)
            res[i] = data[source];
        else
            res[i] = res_T(CONFIG_T::fill);
    }
}

// The same on streams, where the last axis stays the last one: packet by packet.
// CONFIG_T::depth: how many packets have to be kept because they are used again. CONFIG_T::n_steps: clocks of one frame; in
// each a packet is read, or written, or both.
template <class data_T, class res_T, typename CONFIG_T>
void move_packets(stream<data_T> &data, stream<res_T> &res) {
    const int n_axes = CONFIG_T::n_axes;
    const int packets_in = CONFIG_T::n_in / data_T::size;
    const int packets_out = CONFIG_T::n_out / res_T::size;
    recent_packets<data_T, CONFIG_T::depth> recent;
    int place[n_axes]; // of the next packet of the result
    int written = 0;
    for (int axis = 0; axis < n_axes; axis++)
        place[axis] = 0;
Steps:
    for (unsigned step = 0; step < CONFIG_T::n_steps; step++) {
        #pragma HLS PIPELINE
        int source = 0;
        bool inside = true;
    Axes:
        for (int axis = 0; axis < n_axes - 1; axis++) {
            #pragma HLS UNROLL
            const int along = source_along<CONFIG_T>(axis, place[axis]);
            inside = inside && along >= 0;
            source += along * (CONFIG_T::source_stride[axis] / int(data_T::size));
        }
        const bool pending = written < packets_out;
        const int needed = inside ? source : -1;
        if (pending ? !recent.has(needed) : recent.taken < packets_in)
            recent.take(data);
        if (pending && recent.has(needed)) {
            res_T packet;
            PRAGMA_DATA_PACK(packet)
        Lanes:
            for (unsigned lane = 0; lane < res_T::size; lane++) {
                #pragma HLS UNROLL
                const int along = source_along<CONFIG_T>(n_axes - 1, lane);
                if (inside && along >= 0)
                    packet[lane] = recent.element(source, along);
                else
                    packet[lane] = typename res_T::value_type(CONFIG_T::fill);
            }
            res.write(packet);
            written++;
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
}

// Any order of the axes: the whole tensor is kept.
template <class data_T, class res_T, typename CONFIG_T>
void move_tensor(stream<data_T> &data, stream<res_T> &res) {
    typename data_T::value_type before[CONFIG_T::n_in];
    typename res_T::value_type after[CONFIG_T::n_out];
    read_all(data, before, CONFIG_T::n_in);
    move<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(before, after);
    write_all(after, res, CONFIG_T::n_out);
}

template <class data_T, class res_T, typename CONFIG_T> void move(stream<data_T> &data, stream<res_T> &res) {
    #pragma HLS INLINE
    if (CONFIG_T::whole_tensor)
        move_tensor<data_T, res_T, CONFIG_T>(data, res);
    else
        move_packets<data_T, res_T, CONFIG_T>(data, res);
}

} // namespace bitwright

#endif
