// SPDX-License-Identifier: Apache-2.0
// A window that slides over the spatial axes of a tensor; what is under it goes to a kernel that makes the result's channels.
#ifndef BITWRIGHT_WINDOWS_H_
#define BITWRIGHT_WINDOWS_H_

#include "bitwright_streams.h"

namespace bitwright {

// A kernel without constants is called like one with constants.
struct no_constants {};

// CONFIG_T::n_axes: spatial axes. CONFIG_T::positions, window, strides, dilation: along each of them. CONFIG_T::source_stride:
// elements of the input between neighbours along it. CONFIG_T::n_taps: elements of the window, of n_channels each.
// CONFIG_T::kernel: apply(patch, constants, y), where patch holds the taps in row-major order, channels last.
template <class data_T, class res_T, typename CONFIG_T, class constants_T>
void slide(const data_T *data, res_T *res, const constants_T &constants) {
    #pragma HLS INLINE
Positions:
    for (unsigned i = 0; i < CONFIG_T::n_positions; i++) {
        data_T patch[CONFIG_T::n_taps * CONFIG_T::n_channels];
        #pragma HLS ARRAY_PARTITION variable=patch complete
        int rest = i;
        int corner = 0;
    Corner:
        for (int axis = CONFIG_T::n_axes - 1; axis >= 0; axis--) {
            #pragma HLS UNROLL
            corner += (rest % CONFIG_T::positions[axis]) * CONFIG_T::strides[axis] * CONFIG_T::source_stride[axis];
            rest /= CONFIG_T::positions[axis];
        }
    Taps:
        for (unsigned tap = 0; tap < CONFIG_T::n_taps; tap++) {
            #pragma HLS UNROLL
            int left = tap;
            int source = corner;
            for (int axis = CONFIG_T::n_axes - 1; axis >= 0; axis--) {
                #pragma HLS UNROLL
                source += (left % CONFIG_T::window[axis]) * CONFIG_T::dilation[axis] * CONFIG_T::source_stride[axis];
                left /= CONFIG_T::window[axis];
            }
            for (unsigned c = 0; c < CONFIG_T::n_channels; c++) {
                #pragma HLS UNROLL
                patch[tap * CONFIG_T::n_channels + c] = data[source + c];
            }
        }
        CONFIG_T::kernel::apply(patch, constants, res + i * CONFIG_T::n_outputs);
    }
}

// On streams, for one or two spatial axes: the rows above are kept in one memory each, the window in registers.
// CONFIG_T::height, width: of the input; span_height, span_width: what the window covers.
template <class data_T, class res_T, typename CONFIG_T, class constants_T>
void slide_packets(stream<data_T> &data, stream<res_T> &res, const constants_T &constants) {
    typedef typename data_T::value_type value_T;
    typedef typename res_T::value_type result_T;
    const int rows = CONFIG_T::span_height;
    const int columns = CONFIG_T::span_width;
    const int lines = rows > 1 ? rows - 1 : 1;
    data_T line[lines][CONFIG_T::width];
    data_T window[rows][columns];
    #pragma HLS ARRAY_PARTITION variable=line complete dim=1
    #pragma HLS ARRAY_PARTITION variable=window complete dim=0
    int wait_rows = rows - 1; // rows until the next one at which windows end
Rows:
    for (int row = 0; row < CONFIG_T::height; row++) {
        int wait_columns = columns - 1;
    Columns:
        for (int column = 0; column < CONFIG_T::width; column++) {
            #pragma HLS PIPELINE II=CONFIG_T::reuse_factor
            const data_T packet = data.read();
        Window:
            for (int r = 0; r < rows; r++) {
                #pragma HLS UNROLL
                for (int c = 0; c + 1 < columns; c++) {
                    #pragma HLS UNROLL
                    window[r][c] = window[r][c + 1];
                }
                if (r + 1 < rows)
                    window[r][columns - 1] = line[r < lines ? r : 0][column];
                else
                    window[r][columns - 1] = packet;
            }
        Lines:
            for (int r = 0; r + 1 < rows; r++) {
                #pragma HLS UNROLL
                line[r < lines ? r : 0][column] = window[r + 1][columns - 1];
            }
            if (wait_rows == 0 && wait_columns == 0) {
                value_T patch[CONFIG_T::n_taps * CONFIG_T::n_channels];
                #pragma HLS ARRAY_PARTITION variable=patch complete
                result_T results[CONFIG_T::n_outputs];
                #pragma HLS ARRAY_PARTITION variable=results complete
            Taps:
                for (unsigned tap = 0; tap < CONFIG_T::n_taps; tap++) {
                    #pragma HLS UNROLL
                    const unsigned r = tap / CONFIG_T::window_width * CONFIG_T::dilation_height;
                    const unsigned c = tap % CONFIG_T::window_width * CONFIG_T::dilation_width;
                    for (unsigned channel = 0; channel < CONFIG_T::n_channels; channel++) {
                        #pragma HLS UNROLL
                        patch[tap * CONFIG_T::n_channels + channel] = window[r][c][channel];
                    }
                }
                CONFIG_T::kernel::apply(patch, constants, results);
                res_T made;
                PRAGMA_DATA_PACK(made)
                for (unsigned o = 0; o < CONFIG_T::n_outputs; o++) {
                    #pragma HLS UNROLL
                    made[o] = results[o];
                }
                res.write(made);
            }
            wait_columns = wait_columns == 0 ? CONFIG_T::stride_width - 1 : wait_columns - 1;
        }
        wait_rows = wait_rows == 0 ? CONFIG_T::stride_height - 1 : wait_rows - 1;
    }
}

// More than two spatial axes: the whole tensor is kept.
template <class data_T, class res_T, typename CONFIG_T, class constants_T>
void slide_tensor(stream<data_T> &data, stream<res_T> &res, const constants_T &constants) {
    typename data_T::value_type before[CONFIG_T::n_in];
    typename res_T::value_type after[CONFIG_T::n_positions * CONFIG_T::n_outputs];
    read_all(data, before, CONFIG_T::n_in);
    slide<typename data_T::value_type, typename res_T::value_type, CONFIG_T>(before, after, constants);
    write_all(after, res, CONFIG_T::n_positions * CONFIG_T::n_outputs);
}

template <bool WHOLE_TENSOR> struct slide_stream {
    template <class data_T, class res_T, typename CONFIG_T, class constants_T>
    static void run(stream<data_T> &data, stream<res_T> &res, const constants_T &constants) {
        #pragma HLS INLINE
        slide_packets<data_T, res_T, CONFIG_T>(data, res, constants);
    }
};

template <> struct slide_stream<true> {
    template <class data_T, class res_T, typename CONFIG_T, class constants_T>
    static void run(stream<data_T> &data, stream<res_T> &res, const constants_T &constants) {
        #pragma HLS INLINE
        slide_tensor<data_T, res_T, CONFIG_T>(data, res, constants);
    }
};

} // namespace bitwright

#endif
