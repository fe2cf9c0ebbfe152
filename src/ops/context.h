// What every operation needs and nobody owns globally: threads, scratch memory and, when asked for,
// a clock of the parts. One context a caller; a context is used by one thread at a time (its pool
// does the parallel work).
#pragma once

#include <array>
#include <cstddef>

#include "ops/part_clock.h"
#include "sys/thread_pool.h"
#include "tensor/tensor.h"

namespace conclave::ops {

class Context {
 public:
  explicit Context(int n_threads, sys::Pinning pinning = sys::Pinning::kNone)
      : pool(n_threads, pinning) {}

  sys::ThreadPool pool;
  PartClock parts;

  // Scratch memory that lives until the same slot is asked for again. An operation uses slots of
  // its own kind only and keeps nothing between calls.
  enum Slot {
    kPackRows,
    kPackColumns,
    kGroupTasks,
    kAttention,
    kAttentionStates,
    kGather,
    kLoss,
    kSlotCount
  };
  template <class T>
  T* scratch(Slot slot, std::int64_t count) {
    AlignedBuffer& buffer = slots_[slot];
    buffer.reserve(static_cast<std::size_t>(count) * sizeof(T));
    return reinterpret_cast<T*>(buffer.data());
  }

 private:
  std::array<AlignedBuffer, kSlotCount> slots_;
};

}  // namespace conclave::ops
