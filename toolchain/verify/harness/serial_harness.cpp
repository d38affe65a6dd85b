// SPDX-License-Identifier: Apache-2.0
//
// Drives a verilated board design at its oscillator and its two serial pins, bit by bit, like a host on the other end of
// the line. Built into a shared object with the design; toolchain/verify/board.py calls it.
//
// OSCILLATOR, SERIAL_IN and SERIAL_OUT are the names of the ports. One oscillator cycle is one core clock cycle, since the
// stand-in for the PLL passes it on. The host's bit time is a real number of cycles: its edges fall between the design's.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <exception>
#include <memory>
#include <string>

#include "Vtop.h"
#include "verilated.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// Memory files are found relative to the folder that the caller names, not to the process's working folder.
static std::string memory_folder;
extern "C" std::FILE* __real_fopen(const char* path, const char* mode);
extern "C" std::FILE* __wrap_fopen(const char* path, const char* mode) {
  if (path[0] == '/' || memory_folder.empty()) return __real_fopen(path, mode);
  return __real_fopen((memory_folder + "/" + path).c_str(), mode);
}

namespace {

struct Board {
  VerilatedContext context;
  std::unique_ptr<Vtop> top;
  double bit_cycles;
  std::int64_t cycle = 0;
  // Receiving from the board
  bool receiving = false;
  double next_sample = 0;
  int received_bits = 0;
  unsigned received = 0;
  std::deque<std::uint8_t> received_bytes;
  std::int64_t framing_errors = 0;

  void step(bool level) {
    top->SERIAL_IN = level;
    top->OSCILLATOR = 0;
    top->eval();
    top->OSCILLATOR = 1;
    top->eval();
    cycle++;
    listen(top->SERIAL_OUT);
  }

  // The host's receiver: samples in the middle of each bit, counted from the start bit's edge.
  void listen(bool level) {
    if (!receiving) {
      if (level) return;
      receiving = true;
      received_bits = 0;
      received = 0;
      next_sample = static_cast<double>(cycle) + 0.5 * bit_cycles;
    } else if (static_cast<double>(cycle) >= next_sample) {
      next_sample += bit_cycles;
      if (received_bits == 0 && level) {
        receiving = false;  // not a start bit
      } else if (received_bits == 9) {
        receiving = false;
        if (level) received_bytes.push_back(static_cast<std::uint8_t>(received));
        else framing_errors++;
      } else if (received_bits > 0) {
        received |= static_cast<unsigned>(level) << (received_bits - 1);
      }
      received_bits++;
    }
  }
};

}  // namespace

// A board after power-up, or null. bit_cycles: core clock cycles of a bit of the host's sender and receiver.
// folder: where the paths of memory files begin.
EXPORT void* board_new(double bit_cycles, const char* folder) try {
  memory_folder = folder;
  auto board = std::make_unique<Board>();
  board->bit_cycles = bit_cycles;
  board->context.randReset(2);
  board->context.randSeed(1);
  board->top = std::make_unique<Vtop>(&board->context, "");
  board->top->SERIAL_IN = 1;
  board->top->OSCILLATOR = 0;
  board->top->eval();
  // The clock generator holds its reset for some cycles after power-up.
  for (int i = 0; i < 64; i++) board->step(true);
  board->receiving = false;
  board->received_bytes.clear();
  board->framing_errors = 0;
  return board.release();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return nullptr;
}

EXPORT void board_delete(void* handle) { delete static_cast<Board*>(handle); }

EXPORT std::int64_t board_cycles(void* handle) { return static_cast<Board*>(handle)->cycle; }

EXPORT std::int64_t board_framing_errors(void* handle) { return static_cast<Board*>(handle)->framing_errors; }

// Send bytes, each with a start bit and a stop bit, back to back.
EXPORT void board_write(void* handle, const std::uint8_t* data, std::int64_t size) {
  Board& board = *static_cast<Board*>(handle);
  double edge = static_cast<double>(board.cycle);
  for (std::int64_t i = 0; i < size; i++) {
    const unsigned frame = (1u << 9) | (static_cast<unsigned>(data[i]) << 1);
    for (int bit = 0; bit < 10; bit++) {
      edge += board.bit_cycles;
      while (static_cast<double>(board.cycle) < edge) board.step((frame >> bit) & 1u);
    }
  }
}

// Read up to `size` bytes, waiting for at most `most_cycles` for each. Returns how many came.
EXPORT std::int64_t board_read(void* handle, std::uint8_t* data, std::int64_t size, std::int64_t most_cycles) {
  Board& board = *static_cast<Board*>(handle);
  for (std::int64_t i = 0; i < size; i++) {
    for (std::int64_t waited = 0; board.received_bytes.empty(); waited++) {
      if (waited == most_cycles) return i;
      board.step(true);
    }
    data[i] = board.received_bytes.front();
    board.received_bytes.pop_front();
  }
  return size;
}
