#include "sys/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

namespace conclave::sys {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// The entry "KEY: n kB" of a file of the kernel, in bytes; 0 where there is none.
std::size_t read_kib(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, key.size(), key) != 0) continue;
    return std::strtoull(line.c_str() + key.size(), nullptr, 10) * 1024;
  }
  return 0;
}

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

std::size_t available_memory() { return read_kib("/proc/meminfo", "MemAvailable:"); }
std::size_t peak_memory() { return read_kib("/proc/self/status", "VmHWM:"); }
void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace conclave::sys
