#include "tensor/weight_arena.h"

#include <cstdint>

namespace conclave {
namespace {

// What is left over in a block is address space alone: nobody touches it.
constexpr std::size_t kBlock = std::size_t{64} << 20;
constexpr std::size_t kLine = 64;

}  // namespace

std::byte* WeightArena::take(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) fail(ErrorKind::kOutOfMemory, "weights of {} bytes", bytes);
  const std::size_t rounded = (bytes + kLine - 1) / kLine * kLine;
  const std::lock_guard lock(mutex_);
  if (blocks_.empty() || rounded > blocks_.back().size() - used_) {
    blocks_.emplace_back(rounded > kBlock ? rounded : kBlock);
    used_ = 0;
  }
  std::byte* const memory = blocks_.back().data() + used_;
  used_ += rounded;
  taken_ += rounded;
  return memory;
}

}  // namespace conclave
