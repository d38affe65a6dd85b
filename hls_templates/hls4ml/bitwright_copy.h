// SPDX-License-Identifier: Apache-2.0
// y = x in the same row-major order; on a stream, packed into packets of another size where the shape changes.
#ifndef BITWRIGHT_COPY_H_
#define BITWRIGHT_COPY_H_

#include "bitwright_common.h"

namespace bitwright {

template <class data_T, class res_T, typename CONFIG_T> void copy(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in]) {
    #pragma HLS PIPELINE
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        res[i] = data[i];
    }
}

template <class data_T, class res_T, typename CONFIG_T> void copy(stream<data_T> &data, stream<res_T> &res) {
    data_T in_packet;
    res_T out_packet;
    PRAGMA_DATA_PACK(in_packet)
    PRAGMA_DATA_PACK(out_packet)
Elements:
    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS PIPELINE
        if (i % data_T::size == 0)
            in_packet = data.read();
        out_packet[i % res_T::size] = in_packet[i % data_T::size];
        if (i % res_T::size == res_T::size - 1)
            res.write(out_packet);
    }
}

} // namespace bitwright

#endif
