// SPDX-License-Identifier: Apache-2.0
// y[..., 0] = the lowest index c at which x[..., c] is largest: a balanced tree of comparisons.
#ifndef BITWRIGHT_ARGMAX_H_
#define BITWRIGHT_ARGMAX_H_

#include "bitwright_common.h"

namespace bitwright {

template <class value_T, class index_T> struct candidate {
    value_T value;
    index_T index;
};

// The best of `COUNT` channels from `first` on, of the row that begins at `start`; indices count from there. The right half
// wins only if it is larger, so ties go to the left.
template <class value_T, class index_T, unsigned COUNT> struct best_of {
    template <class row_T> static candidate<value_T, index_T> find(const row_T &row, unsigned start, unsigned first) {
        #pragma HLS INLINE
        const candidate<value_T, index_T> left = best_of<value_T, index_T, COUNT / 2>::find(row, start, first);
        const candidate<value_T, index_T> right =
            best_of<value_T, index_T, COUNT - COUNT / 2>::find(row, start, first + COUNT / 2);
        return right.value > left.value ? right : left;
    }
};

template <class value_T, class index_T> struct best_of<value_T, index_T, 1> {
    template <class row_T> static candidate<value_T, index_T> find(const row_T &row, unsigned start, unsigned first) {
        #pragma HLS INLINE
        candidate<value_T, index_T> only;
        only.value = row[start + first];
        only.index = first;
        return only;
    }
};

template <class data_T, class res_T, typename CONFIG_T>
void argmax(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in / CONFIG_T::n_channels]) {
    #pragma HLS PIPELINE
Rows:
    for (unsigned r = 0; r < CONFIG_T::n_in / CONFIG_T::n_channels; r++) {
        #pragma HLS UNROLL
        res[r] = best_of<data_T, typename CONFIG_T::index_t, CONFIG_T::n_channels>::find(data, r * CONFIG_T::n_channels, 0).index;
    }
}

template <class data_T, class res_T, typename CONFIG_T> void argmax(stream<data_T> &data, stream<res_T> &res) {
    typedef typename data_T::value_type value_T;
Packets:
    for (unsigned r = 0; r < CONFIG_T::n_in / CONFIG_T::n_channels; r++) {
        #pragma HLS PIPELINE
        const data_T in_packet = data.read();
        res_T out_packet;
        PRAGMA_DATA_PACK(out_packet)
        out_packet[0] = best_of<value_T, typename CONFIG_T::index_t, CONFIG_T::n_channels>::find(in_packet, 0, 0).index;
        res.write(out_packet);
    }
}

} // namespace bitwright

#endif
