// SPDX-License-Identifier: Apache-2.0
// y[..., c] = table[c][x[..., c] - first]: any function of an integer, by a table that begins at the input's minimum.
#ifndef BITWRIGHT_LOOKUP_H_
#define BITWRIGHT_LOOKUP_H_

#include "bitwright_common.h"

namespace bitwright {

// CONFIG_T::n_entries: of one channel's table. CONFIG_T::per_channel: false if one table serves all.
// CONFIG_T::place_t: an unsigned integer that counts at least n_entries values. A table is shorter than that, so the lowest
// bits of the input's integer tell its entry; CONFIG_T::first: those bits of the integer of the first entry.
template <typename CONFIG_T> struct lookup {
    template <class x_T, class y_T>
    static void apply(const x_T &x, unsigned channel, const typename CONFIG_T::constant_t *table, y_T &y) {
        #pragma HLS INLINE
        const typename CONFIG_T::place_t low = integer_of(x);
        const typename CONFIG_T::place_t place = low - typename CONFIG_T::place_t(CONFIG_T::first);
        const unsigned entry = place.to_uint();
        y = table[(CONFIG_T::per_channel ? channel * CONFIG_T::n_entries : 0) + entry];
    }
};

} // namespace bitwright

#endif
