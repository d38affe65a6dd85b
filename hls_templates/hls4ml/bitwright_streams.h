// SPDX-License-Identifier: Apache-2.0
// What layers on streams share: the packets that were read last, and whole tensors as arrays.
#ifndef BITWRIGHT_STREAMS_H_
#define BITWRIGHT_STREAMS_H_

#include "bitwright_common.h"

namespace bitwright {

// The last DEPTH packets of a stream, by their number in the frame.
template <class packet_T, int DEPTH> class recent_packets {
  public:
    recent_packets() : taken(0) {}

    bool has(int packet) const { return packet < taken; }

    void take(stream<packet_T> &data) {
        #pragma HLS INLINE
        packets[taken % DEPTH] = data.read();
        taken++;
    }

    const typename packet_T::value_type &element(int packet, unsigned lane) const {
        #pragma HLS INLINE
        return packets[packet % DEPTH][lane];
    }

    int taken; // packets of this frame that were read

  private:
    packet_T packets[DEPTH];
};

template <class packet_T, class value_T> void read_all(stream<packet_T> &data, value_T *values, unsigned elements) {
Packets:
    for (unsigned i = 0; i < elements; i += packet_T::size) {
        #pragma HLS PIPELINE
        const packet_T packet = data.read();
        for (unsigned j = 0; j < packet_T::size; j++) {
            #pragma HLS UNROLL
            values[i + j] = packet[j];
        }
    }
}

template <class packet_T, class value_T> void write_all(const value_T *values, stream<packet_T> &res, unsigned elements) {
Packets:
    for (unsigned i = 0; i < elements; i += packet_T::size) {
        #pragma HLS PIPELINE
        packet_T packet;
        PRAGMA_DATA_PACK(packet)
        for (unsigned j = 0; j < packet_T::size; j++) {
            #pragma HLS UNROLL
            packet[j] = values[i + j];
        }
        res.write(packet);
    }
}

} // namespace bitwright

#endif
