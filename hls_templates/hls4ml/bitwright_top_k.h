// SPDX-License-Identifier: Apache-2.0
// y[..., r] = the channel that has rank r: how many channels are larger, or equal and before it. All are compared at once.
#ifndef BITWRIGHT_TOP_K_H_
#define BITWRIGHT_TOP_K_H_

#include "bitwright_common.h"

namespace bitwright {

template <typename CONFIG_T> struct ranking {
    template <class row_T, class res_T> static void find(const row_T &row, unsigned first, res_T &res, unsigned place) {
        #pragma HLS INLINE
    Channels:
        for (unsigned c = 0; c < CONFIG_T::n_channels; c++) {
            #pragma HLS UNROLL
            unsigned rank = 0;
            for (unsigned other = 0; other < CONFIG_T::n_channels; other++) {
                #pragma HLS UNROLL
                if (other < c ? row[first + other] >= row[first + c] : row[first + other] > row[first + c])
                    rank++;
            }
        Ranks:
            for (unsigned r = 0; r < CONFIG_T::k; r++) {
                #pragma HLS UNROLL
                if (rank == r)
                    res[place + r] = c;
            }
        }
    }
};

template <class data_T, class res_T, typename CONFIG_T>
void top_k(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in / CONFIG_T::n_channels * CONFIG_T::k]) {
    #pragma HLS PIPELINE
Rows:
    for (unsigned r = 0; r < CONFIG_T::n_in / CONFIG_T::n_channels; r++) {
        #pragma HLS UNROLL
        ranking<CONFIG_T>::find(data, r * CONFIG_T::n_channels, res, r * CONFIG_T::k);
    }
}

template <class data_T, class res_T, typename CONFIG_T> void top_k(stream<data_T> &data, stream<res_T> &res) {
Packets:
    for (unsigned r = 0; r < CONFIG_T::n_in / CONFIG_T::n_channels; r++) {
        #pragma HLS PIPELINE
        const data_T in_packet = data.read();
        res_T out_packet;
        PRAGMA_DATA_PACK(out_packet)
        ranking<CONFIG_T>::find(in_packet, 0, out_packet, 0);
        res.write(out_packet);
    }
}

} // namespace bitwright

#endif
