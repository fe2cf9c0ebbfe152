// Memory for the weights of a model: thousands of matrices side by side in large blocks. A matrix
// of its own takes whole huge pages (an expert of 2.3 MB would hold 4) or none at all.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "tensor/tensor.h"

namespace conclave {

class WeightArena {
 public:
  // `bytes` of memory aligned to a cache line that live as long as the arena. Safe to call from
  // several threads. Throws Error(kOutOfMemory).
  std::byte* take(std::size_t bytes);
  // Bytes handed out.
  std::size_t bytes() const { return taken_; }

 private:
  std::mutex mutex_;
  std::vector<AlignedBuffer> blocks_;  // the last is being filled
  std::size_t used_ = 0;               // of the last
  std::size_t taken_ = 0;
};

}  // namespace conclave
