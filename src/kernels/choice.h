// The one list of an operation's kernels, and the choice from it. Every operation has a struct of
// function pointers with a field `isa`, and a function that returns all of them, weakest
// instruction set first and the plain reference at the front. Tests and benchmarks walk
// runnable(list); the engine takes best(list).
#pragma once

#include <span>

#include "base/error.h"
#include "sys/cpu.h"

namespace conclave::kernels {

// The kernels of the list that this machine can execute.
template <class Kernel>
std::span<const Kernel> runnable(std::span<const Kernel> list) {
  std::size_t count = 0;
  while (count < list.size() && list[count].isa <= sys::machine_isa()) ++count;
  return list.first(count);
}

// The strongest kernel that sys::best_isa() allows.
template <class Kernel>
const Kernel& best(std::span<const Kernel> list) {
  CONCLAVE_CHECK(!list.empty() && list.front().isa == sys::Isa::kReference);
  std::size_t chosen = 0;
  while (chosen + 1 < list.size() && list[chosen + 1].isa <= sys::best_isa()) ++chosen;
  return list[chosen];
}

}  // namespace conclave::kernels
