#include "sys/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

namespace conclave::sys {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

void* allocate_memory(std::size_t bytes) noexcept {
  const std::size_t align = bytes >= kHugePage ? kHugePage : kCacheLine;
  if (bytes > SIZE_MAX - align) return nullptr;
  const std::size_t rounded = bytes == 0 ? align : (bytes + align - 1) / align * align;
  void* memory = std::aligned_alloc(align, rounded);
  // Advice: where it is refused, small pages serve as well.
  if (memory != nullptr && align == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);
  return memory;
}

void free_memory(void* memory) noexcept { std::free(memory); }

std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kib) == 1) return kib * 1024;
  }
  return 0;
}

}  // namespace conclave::sys
