// SPDX-License-Identifier: Apache-2.0
// y = overflow(round(x * 2**-shift)) on integers, for every pair of rounding and overflow that the integer graph has.
#ifndef BITWRIGHT_REQUANTISE_H_
#define BITWRIGHT_REQUANTISE_H_

#include "bitwright_common.h"

namespace bitwright {

enum class rounding {
    truncate,
    truncate_zero,
    half_up,
    half_down,
    half_zero,
    half_away,
    half_even,
    ceiling,
    away,
    half_dpu
};
enum class overflow { saturate, wrap, saturate_zero, wrap_sign_magnitude };

// CONFIG_T::shift: bits that are dropped, or appended if it is negative. CONFIG_T::rounding, overflow: as above.
// CONFIG_T::integer_t: signed; holds x before and after the shift, twice what is dropped, and one bit more than the result.
// CONFIG_T::width, is_signed: the result's word. CONFIG_T::full_range: saturation goes to its ends, else to lowest and highest.
template <typename CONFIG_T> struct requantise {
    typedef typename CONFIG_T::integer_t integer_T;

    static bool rounds_up(const integer_T &x, const integer_T &floor, const integer_T &rest, const integer_T &half) {
        #pragma HLS INLINE
        const bool negative = x < 0;
        const bool odd = floor[0];
        const bool inexact = rest != 0;
        const bool tie = rest == half;
        switch (CONFIG_T::rounding) {
        case rounding::truncate:
            return false;
        case rounding::ceiling:
            return inexact;
        case rounding::truncate_zero:
            return negative && inexact;
        case rounding::away:
            return !negative && inexact;
        case rounding::half_up:
            return rest >= half;
        case rounding::half_down:
            return rest > half;
        case rounding::half_zero:
            return rest > half || (tie && negative);
        case rounding::half_away:
            return rest > half || (tie && !negative);
        case rounding::half_even:
            return rest > half || (tie && odd);
        default:
            return rest > half || (tie && (negative || odd));
        }
    }

    template <class x_T, class y_T> static void apply(const x_T &x, y_T &y) {
        #pragma HLS INLINE
        const int dropped = CONFIG_T::shift > 0 ? CONFIG_T::shift : 0;
        const int appended = CONFIG_T::shift < 0 ? -CONFIG_T::shift : 0;
        const integer_T one = 1;
        const integer_T zero = 0;
        const integer_T value = integer_of(x);
        integer_T rounded = value << appended;
        if (dropped > 0) {
            const integer_T floor = value >> dropped;
            const integer_T rest = value - integer_T(floor << dropped);
            const integer_T half = one << (dropped > 0 ? dropped - 1 : 0);
            rounded = rounds_up(value, floor, rest, half) ? integer_T(floor + one) : floor;
        }
        if (CONFIG_T::overflow == overflow::saturate || CONFIG_T::overflow == overflow::saturate_zero) {
            const integer_T above = one << (CONFIG_T::is_signed ? CONFIG_T::width - 1 : CONFIG_T::width);
            const integer_T highest = CONFIG_T::full_range ? integer_T(above - one) : integer_T(CONFIG_T::highest);
            const integer_T lowest = !CONFIG_T::full_range   ? integer_T(CONFIG_T::lowest)
                                     : CONFIG_T::is_signed ? integer_T(-above)
                                                             : zero;
            const bool nearest = CONFIG_T::overflow == overflow::saturate;
            if (rounded > highest)
                rounded = nearest ? highest : zero;
            else if (rounded < lowest)
                rounded = nearest ? lowest : zero;
        } else {
            const bool above = rounded[CONFIG_T::width];
            const bool sign = rounded[CONFIG_T::width - 1];
            if (CONFIG_T::overflow == overflow::wrap_sign_magnitude && above != sign)
                rounded = -one - rounded;
            const integer_T modulus = one << CONFIG_T::width;
            const bool negative = CONFIG_T::is_signed && rounded[CONFIG_T::width - 1];
            rounded = rounded & integer_T(modulus - one);
            if (negative)
                rounded = rounded - modulus;
        }
        set_integer(y, rounded);
    }
};

} // namespace bitwright

#endif
