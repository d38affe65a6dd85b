// SPDX-License-Identifier: Apache-2.0
// Runs the top function on the CPU for a batch of vectors of integers, without a detour through floating point.
//
// A value travels as the words of its two's complement or unsigned representation: ceil(width / 64) words, lowest first,
// bits above the width zero. A sample is the words of all ports in order, elements in row-major order.
//
// BITWRIGHT_TOP: the top function. BITWRIGHT_HEADER: the project's header that declares it. That one, or BITWRIGHT_PORTS where
// it is given, has the emulation types `inputs_t` and `outputs_t` (tuples of the ports) and the function `<top>_emulator` that
// takes them.

#include BITWRIGHT_HEADER // "firmware/<top>.h"

#include "nnet_utils/bitwright_platform.h"

#ifdef BITWRIGHT_PORTS
#include BITWRIGHT_PORTS
#endif

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#define BITWRIGHT_JOIN(a, b) a##b
#define BITWRIGHT_EMULATOR(top) BITWRIGHT_JOIN(top, _emulator)

namespace nnet {
// What the traced layers of the generated code look at.
bool trace_enabled = false;
std::map<std::string, void *> *trace_outputs = nullptr;
std::size_t trace_type_size = sizeof(double);
} // namespace nnet

namespace {

std::string weights_folder = "weights";

constexpr int word_bits = 64;

template <class value_T> void read_value(value_T &value, const std::uint64_t *&words) {
    bitwright::natural<value_T::width> bits = 0;
    for (int low = 0; low < value_T::width; low += word_bits)
        bits |= bitwright::natural<value_T::width>(bitwright::natural<word_bits>(*words++)) << low;
    bitwright::set_integer(value, bits);
}

template <class value_T> void write_value(const value_T &value, std::uint64_t *&words) {
    const bitwright::natural<value_T::width> bits = bitwright::integer_of(value);
    for (int low = 0; low < value_T::width; low += word_bits)
        *words++ = bitwright::natural<word_bits>(bits >> low).to_uint64();
}

template <class value_T, std::size_t SIZE>
void read_port(std::array<value_T, SIZE> &port, std::size_t, const std::uint64_t *&words) {
    for (value_T &value : port)
        read_value(value, words);
}

template <class packet_T> void read_port(bitwright::stream<packet_T> &port, std::size_t elements, const std::uint64_t *&words) {
    for (std::size_t done = 0; done < elements; done += packet_T::size) {
        packet_T packet;
        for (unsigned i = 0; i < packet_T::size; i++)
            read_value(packet[i], words);
        port.write(packet);
    }
}

template <class value_T, std::size_t SIZE>
void write_port(std::array<value_T, SIZE> &port, std::size_t, std::uint64_t *&words) {
    for (const value_T &value : port)
        write_value(value, words);
}

template <class packet_T> void write_port(bitwright::stream<packet_T> &port, std::size_t elements, std::uint64_t *&words) {
    for (std::size_t done = 0; done < elements; done += packet_T::size) {
        const packet_T packet = port.read();
        for (unsigned i = 0; i < packet_T::size; i++)
            write_value(packet[i], words);
    }
}

// What a network does not read of an input must not stay for the next sample. Arrays hold nothing back.
template <class value_T, std::size_t SIZE> void drain(std::array<value_T, SIZE> &) {}

template <class packet_T> void drain(bitwright::stream<packet_T> &port) {
    while (bitwright::holds_packets(port))
        port.read();
}

} // namespace

const char *bitwright_weights_folder() { return weights_folder.c_str(); }

extern "C" {

// Where the generated code finds its constants. Has to be called before the first run.
void bitwright_set_weights_folder(const char *folder) { weights_folder = folder; }

// inputs: samples * words of a sample's inputs. outputs: room for samples * words of a sample's outputs.
// input_elements, output_elements: elements of each port, in order.
void bitwright_run(const std::uint64_t *inputs, std::uint64_t *outputs, std::size_t samples,
                   const std::size_t *input_elements, const std::size_t *output_elements) {
    inputs_t in_ports;
    outputs_t out_ports;
    for (std::size_t sample = 0; sample < samples; sample++) {
        std::size_t port_number = 0;
        std::apply([&](auto &...port) { (read_port(port, input_elements[port_number++], inputs), ...); }, in_ports);
        BITWRIGHT_EMULATOR(BITWRIGHT_TOP)(in_ports, out_ports);
        port_number = 0;
        std::apply([&](auto &...port) { (write_port(port, output_elements[port_number++], outputs), ...); }, out_ports);
        std::apply([&](auto &...port) { (drain(port), ...); }, in_ports);
    }
}

// Let `layers` layers hand their results to `results` (double precision, one array a layer) in the runs that follow.
void bitwright_trace_begin(const char *const *names, double *const *results, std::size_t layers) {
    nnet::trace_outputs = new std::map<std::string, void *>;
    for (std::size_t i = 0; i < layers; i++)
        (*nnet::trace_outputs)[names[i]] = results[i];
    nnet::trace_enabled = true;
}

void bitwright_trace_end() {
    nnet::trace_enabled = false;
    delete nnet::trace_outputs;
    nnet::trace_outputs = nullptr;
}

} // extern "C"
