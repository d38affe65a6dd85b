// SPDX-License-Identifier: Apache-2.0
//
// Drives a verilated design with AXI-Stream ports (clk, rst, s_axis_*, m_axis_*) of any width as fast as it simulates.
// Built into a shared object with the design; toolchain/verify/simulation_library.py calls it.
//
// A cycle: with the clock low, inputs are set and settle; handshakes are sampled; then the clock rises. Beats are arrays of
// bytes, lowest first, as large as Verilator's variable for the port (simulation_input_bytes and so on).
//
// probes.inc is generated for each build: one PROBE(path) a stream inside the design, or nothing. So is load_port.inc, which
// defines LOAD_PORT: whether the design has an AXI4-Lite port (s_axil_*) through which constants are replaced.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vtop.h"
#include "Vtop___024root.h"
#include "load_port.inc"
#include "verilated.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// ---- Verilator's ways to end a process become exceptions ---------------------------------------------------------------
void vl_finish(const char* file, int line, const char*) {
  throw std::runtime_error(std::string("the design called $finish at ") + file + ":" + std::to_string(line));
}
void vl_stop(const char* file, int line, const char*) {
  throw std::runtime_error(std::string("the design called $stop at ") + file + ":" + std::to_string(line));
}
void vl_fatal(const char* file, int, const char*, const char* message) {
  throw std::runtime_error(std::string(message) + " (" + file + ")");
}
void vl_warn(const char* file, int, const char*, const char* message) {
  throw std::runtime_error(std::string(message) + " (" + file + ")");
}

// ---- Memory files are found relative to the folder that the caller names, not to the process's working folder ------------
static thread_local std::string memory_folder;
extern "C" std::FILE* __real_fopen(const char* path, const char* mode);
extern "C" std::FILE* __wrap_fopen(const char* path, const char* mode) {
  if (path[0] == '/' || memory_folder.empty()) return __real_fopen(path, mode);
  return __real_fopen((memory_folder + "/" + path).c_str(), mode);
}

namespace {

// A stream inside the design, or one of its ports.
struct Stream {
  const std::uint8_t* data;
  std::size_t bytes;
  const std::uint8_t* valid;
  const std::uint8_t* ready;
  bool transfers() const { return *valid && *ready; }
  std::uint8_t state() const { return static_cast<std::uint8_t>((*valid ? 1 : 0) | (*ready ? 2 : 0)); }
};

template <typename Data>
Stream stream_of(const Data& data, const CData& valid, const CData& ready) {
  return {reinterpret_cast<const std::uint8_t*>(&data), sizeof(Data), &valid, &ready};
}

struct Simulation {
  VerilatedContext context;
  std::unique_ptr<Vtop> top;
  std::vector<Stream> probes;
  std::string folder;
  bool loaded = false;  // since the last run
};

// xorshift64*: S. Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
struct Random {
  std::uint64_t state;
  std::uint32_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<std::uint32_t>((state * 0x2545F4914F6CDD1DULL) >> 32);
  }
};

std::size_t probe_count() {
  std::size_t count = 0;
#define PROBE(path) count++;
#include "probes.inc"
#undef PROBE
  return count;
}

// The host's side of the AXI4-Lite port, at rest.
void rest_load_port([[maybe_unused]] Vtop& top) {
#if LOAD_PORT
  top.s_axil_awaddr = 0;
  top.s_axil_awprot = 0;
  top.s_axil_awvalid = 0;
  top.s_axil_wdata = 0;
  top.s_axil_wstrb = 0;
  top.s_axil_wvalid = 0;
  top.s_axil_bready = 0;
  top.s_axil_araddr = 0;
  top.s_axil_arprot = 0;
  top.s_axil_arvalid = 0;
  top.s_axil_rready = 0;
#endif
}

void reset(Vtop& top) {
  top.rst = 1;
  top.s_axis_tvalid = 0;
  top.m_axis_tready = 0;
  rest_load_port(top);
  for (int i = 0; i < 4; i++) {
    top.clk = 0;
    top.eval();
    top.clk = 1;
    top.eval();
  }
  top.rst = 0;
}

void copy_text(const char* text, char* error, std::int64_t error_size) {
  std::snprintf(error, static_cast<std::size_t>(error_size), "%s", text);
}

}  // namespace

// What a run is asked for, and what came of it. Same layout in toolchain/verify/simulation_library.py.
struct Request {
  const std::uint8_t* input;       // input_beats beats
  std::int64_t input_beats;
  std::uint8_t* output;            // room for output_beats beats
  std::int64_t output_beats;       // the run ends when so many have been taken
  std::int64_t* input_cycles;      // cycle in which each beat was accepted, or null
  std::int64_t* output_cycles;     // cycle in which each beat was taken, or null
  std::uint8_t** probe_data;       // for each probe: room for probe_capacity beats, or null
  std::int64_t* probe_capacity;
  std::int64_t* probe_beats;       // out: beats recorded
  std::uint8_t* states;            // out, if the run stalled: valid (1) and ready (2) of the input, each probe, the output
  std::uint8_t* trace;             // room for trace_rows rows, or null: the streams' states and data, cycle by cycle
  std::int64_t trace_from;         // cycle of the first row
  std::int64_t trace_rows;
  std::int64_t output_beats_a_frame;
  std::uint64_t seed;              // of the patterns, not 0
  std::uint32_t idle;              // probability * 2**32 that the source pauses before it offers its next beat
  std::uint32_t stall;             // probability * 2**32 that the sink is not ready in a cycle
  std::int64_t longest_idle;       // cycles after which the source ends a pause whatever chance says
  std::int64_t longest_stall;      // the same of the sink
  std::int64_t stall_limit;        // cycles without any transfer after which the run gives up
  std::int64_t drain_cycles;       // cycles to go on for after the last output beat, in which none may follow
  // Results
  std::int64_t cycles;             // from the first after reset to the one that took the last output beat
  std::int64_t accepted;
  std::int64_t taken;
  std::int64_t violation_cycle;
  std::int32_t violation;          // 0 none, 1 tvalid dropped, 2 data changed while stalled, 3 tlast wrong, 4 beat too many
  std::int32_t stalled;
  std::int64_t traced;             // rows written to trace
};

EXPORT std::int64_t simulation_request_bytes() { return sizeof(Request); }
EXPORT std::int64_t simulation_input_bytes() { return sizeof(Vtop::s_axis_tdata); }
EXPORT std::int64_t simulation_output_bytes() { return sizeof(Vtop::m_axis_tdata); }
EXPORT std::int64_t simulation_probes() { return static_cast<std::int64_t>(probe_count()); }

// A new instance with all registers at random values, or null and a message in `error`.
EXPORT void* simulation_new(const char* folder, std::int64_t seed, char* error, std::int64_t error_size) {
  try {
    auto simulation = std::make_unique<Simulation>();
    simulation->folder = folder;
    memory_folder = folder;
    Verilated::threadContextp(&simulation->context);
    simulation->context.randReset(2);
    simulation->context.randSeed(static_cast<int>(seed));
    simulation->top = std::make_unique<Vtop>(&simulation->context, "");
    Vtop& top = *simulation->top;
    [[maybe_unused]] const Vtop___024root* root = top.rootp;
#define PROBE(path) simulation->probes.push_back(stream_of(root->path##_tdata, root->path##_tvalid, root->path##_tready));
#include "probes.inc"
#undef PROBE
    top.clk = 0;
    top.rst = 1;
    top.s_axis_tvalid = 0;
    std::memset(reinterpret_cast<void*>(&top.s_axis_tdata), 0, sizeof(top.s_axis_tdata));
    top.m_axis_tready = 0;
    rest_load_port(top);
    top.eval();  // reads the memory files
    return simulation.release();
  } catch (const std::exception& exception) {
    copy_text(exception.what(), error, error_size);
    return nullptr;
  }
}

EXPORT void simulation_delete(void* handle) {
  Simulation* simulation = static_cast<Simulation*>(handle);
  // Verilator takes its scopes out of the calling thread's context, which may be that of another instance.
  Verilated::threadContextp(&simulation->context);
  delete simulation;
  Verilated::threadContextp(Verilated::defaultContextp());
}

EXPORT std::int64_t simulation_probe_bytes(void* handle, std::int64_t index) {
  return static_cast<std::int64_t>(static_cast<Simulation*>(handle)->probes[static_cast<std::size_t>(index)].bytes);
}

// Reset the design, read its identification (byte address 0) and make `count` writes. The next run then begins with a beat in the
// cycle after the last answer, without a reset. Returns 0, or 1 with a message in `error`.
EXPORT std::int32_t simulation_load([[maybe_unused]] void* handle, [[maybe_unused]] const std::uint32_t* addresses,
                                    [[maybe_unused]] const std::uint32_t* words, [[maybe_unused]] std::int64_t count,
                                    [[maybe_unused]] std::uint32_t* identification, char* error, std::int64_t error_size) try {
#if LOAD_PORT
  constexpr int most_cycles = 64;
  Simulation& simulation = *static_cast<Simulation*>(handle);
  Vtop& top = *simulation.top;
  memory_folder = simulation.folder;
  Verilated::threadContextp(&simulation.context);
  reset(top);
  // One transfer: the requests are taken down as they are accepted, and `answered` looks at the answer. True if it came.
  const auto transfer = [&](const auto& answered) {
    for (int cycle = 0; cycle < most_cycles; cycle++) {
      top.clk = 0;
      top.eval();
      const bool address_taken = top.s_axil_awvalid && top.s_axil_awready, data_taken = top.s_axil_wvalid && top.s_axil_wready;
      const bool read_taken = top.s_axil_arvalid && top.s_axil_arready, done = answered();
      top.clk = 1;
      top.eval();
      if (address_taken) top.s_axil_awvalid = 0;
      if (data_taken) top.s_axil_wvalid = 0;
      if (read_taken) top.s_axil_arvalid = 0;
      if (done) return true;
    }
    return false;
  };
  const auto fail = [&](const char* what, std::uint32_t address, int answer) -> std::int32_t {
    std::snprintf(error, static_cast<std::size_t>(error_size), "AXI4-Lite %s at 0x%x: %s (%d)", what, address,
                  answer < 0 ? "no answer" : "refused", answer);
    return 1;
  };
  int answer = -1;
  top.s_axil_arvalid = 1;
  top.s_axil_rready = 1;
  transfer([&] {
    if (!top.s_axil_rvalid) return false;
    answer = top.s_axil_rresp;
    *identification = top.s_axil_rdata;
    return true;
  });
  top.s_axil_rready = 0;
  if (answer != 0) return fail("read", 0, answer);
  for (std::int64_t i = 0; i < count; i++) {
    answer = -1;
    top.s_axil_awaddr = addresses[i];
    top.s_axil_awvalid = 1;
    top.s_axil_wdata = words[i];
    top.s_axil_wstrb = 15;
    top.s_axil_wvalid = 1;
    top.s_axil_bready = 1;
    transfer([&] {
      if (top.s_axil_bvalid) answer = top.s_axil_bresp;
      return answer >= 0;
    });
    if (answer != 0) return fail("write", addresses[i], answer);
  }
  rest_load_port(top);
  simulation.loaded = true;
  return 0;
#else
  copy_text("the design has no AXI4-Lite port", error, error_size);
  return 1;
#endif
} catch (const std::exception& exception) {
  copy_text(exception.what(), error, error_size);
  return 1;
}

// Reset the design unless it was loaded just now, feed it all input beats and collect the output. Returns 0, or 1 with a message
// in `error`.
EXPORT std::int32_t simulation_run(void* handle, Request* request, char* error, std::int64_t error_size) try {
  Simulation& simulation = *static_cast<Simulation*>(handle);
  Vtop& top = *simulation.top;
  memory_folder = simulation.folder;
  Verilated::threadContextp(&simulation.context);
  Random random{request->seed};
  constexpr std::size_t input_bytes = sizeof(top.s_axis_tdata);
  constexpr std::size_t output_bytes = sizeof(top.m_axis_tdata);

  struct Recorded { Stream stream; std::uint8_t* next; std::int64_t room; std::int64_t* count; };
  std::vector<Recorded> recorded;
  for (std::size_t i = 0; i < simulation.probes.size(); i++) {
    request->probe_beats[i] = 0;
    if (request->probe_data[i]) {
      recorded.push_back({simulation.probes[i], request->probe_data[i], request->probe_capacity[i], &request->probe_beats[i]});
    }
  }

  if (!simulation.loaded) reset(top);
  simulation.loaded = false;

  std::int64_t cycle = 0, accepted = 0, taken = 0, quiet = 0, draining = 0, idled = 0, stalled_for = 0;
  bool offering = false, stalled_before = false;
  std::uint8_t last_before = 0;
  std::uint8_t before[output_bytes];
  // A row: for the input, each probe and the output valid (1) and ready (2), and the data.
  std::uint8_t* row = request->trace;
  const auto record_port = [&](bool valid, bool ready, const void* data, std::size_t bytes) {
    *row++ = static_cast<std::uint8_t>((valid ? 1 : 0) | (ready ? 2 : 0));
    std::memcpy(row, data, bytes);
    row += bytes;
  };
  const auto violate = [&](std::int32_t code) {
    if (request->violation == 0) {
      request->violation = code;
      request->violation_cycle = cycle;
    }
  };
  request->violation = 0;
  request->violation_cycle = 0;
  request->stalled = 0;
  request->cycles = 0;
  request->traced = 0;
  while (taken < request->output_beats || draining < request->drain_cycles) {
    // Whether nothing moves any more is decided in a cycle in which neither side pauses.
    const bool decides = quiet >= request->stall_limit;
    if (!offering && accepted < request->input_beats) {
      offering = request->idle == 0 || random.next() >= request->idle || idled >= request->longest_idle || decides;
      idled = offering ? 0 : idled + 1;
      if (offering) {
        std::memcpy(reinterpret_cast<void*>(&top.s_axis_tdata), request->input + accepted * input_bytes, input_bytes);
      }
    }
    top.s_axis_tvalid = offering;
    top.m_axis_tready =
        request->stall == 0 || random.next() >= request->stall || stalled_for >= request->longest_stall || decides;
    stalled_for = top.m_axis_tready ? 0 : stalled_for + 1;
    top.clk = 0;
    top.eval();

    if (row && cycle >= request->trace_from && cycle < request->trace_from + request->trace_rows) {
      request->traced++;
      record_port(top.s_axis_tvalid, top.s_axis_tready, &top.s_axis_tdata, input_bytes);
      for (const Stream& probe : simulation.probes) record_port(*probe.valid, *probe.ready, probe.data, probe.bytes);
      record_port(top.m_axis_tvalid, top.m_axis_tready, &top.m_axis_tdata, output_bytes);
    }

    bool moved = false;
    if (offering && top.s_axis_tready) {
      if (request->input_cycles) request->input_cycles[accepted] = cycle;
      accepted++;
      offering = false;
      moved = true;
    }
    const std::uint8_t* data = reinterpret_cast<const std::uint8_t*>(&top.m_axis_tdata);
    if (stalled_before) {
      if (!top.m_axis_tvalid) violate(1);
      else if (std::memcmp(before, data, output_bytes) != 0 || last_before != top.m_axis_tlast) violate(2);
    }
    stalled_before = top.m_axis_tvalid && !top.m_axis_tready;
    if (stalled_before) {
      std::memcpy(before, data, output_bytes);
      last_before = top.m_axis_tlast;
    } else if (top.m_axis_tvalid) {
      if (taken < request->output_beats) {
        std::memcpy(request->output + taken * output_bytes, data, output_bytes);
        if (request->output_cycles) request->output_cycles[taken] = cycle;
      } else {
        violate(4);
      }
      taken++;
      if (top.m_axis_tlast != (taken % request->output_beats_a_frame == 0)) violate(3);
      if (taken == request->output_beats) request->cycles = cycle + 1;
      moved = true;
    }
    for (Recorded& record : recorded) {
      if (!record.stream.transfers()) continue;
      moved = true;
      if (*record.count < record.room) {
        std::memcpy(record.next, record.stream.data, record.stream.bytes);
        record.next += record.stream.bytes;
      }
      (*record.count)++;
    }
    if (taken >= request->output_beats) {
      draining++;
    } else {
      quiet = moved ? 0 : quiet + 1;
      if (quiet > request->stall_limit) {
        request->stalled = 1;
        request->cycles = cycle + 1;
        std::uint8_t* state = request->states;
        *state++ = static_cast<std::uint8_t>((top.s_axis_tvalid ? 1 : 0) | (top.s_axis_tready ? 2 : 0));
        for (const Stream& probe : simulation.probes) *state++ = probe.state();
        *state++ = static_cast<std::uint8_t>((top.m_axis_tvalid ? 1 : 0) | (top.m_axis_tready ? 2 : 0));
        break;
      }
    }
    top.clk = 1;
    top.eval();
    cycle++;
  }
  request->accepted = accepted;
  request->taken = taken;
  return 0;
} catch (const std::exception& exception) {
  copy_text(exception.what(), error, error_size);
  return 1;
}
