// Large blocks of memory in huge pages: a 4 KiB page table costs the matrix products of a training
// step about a tenth of their time in faults and address translation, and weights an eighth of the
// read bandwidth.
#pragma once

#include <cstddef>

namespace conclave::sys {

// Uninitialised memory aligned to 64 bytes, or to 2 MiB and advised to be in huge pages where it is
// at least that large. Null where there is none. Free with free_memory.
void* allocate_memory(std::size_t bytes) noexcept;
void free_memory(void* memory) noexcept;

// Bytes that could be taken without swapping (MemAvailable of the kernel); 0 where unknown.
std::size_t available_memory();

// The most memory of this process that was resident at once, since it began or since the last
// reset; 0 where unknown. A reset that the system refuses changes nothing.
std::size_t peak_memory();
void reset_peak_memory();

}  // namespace conclave::sys
