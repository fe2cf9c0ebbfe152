// What this processor can do, read once from CPUID (and what the operating system saves of it).
#pragma once

#include <string>

namespace conclave::sys {

// Instruction sets that kernels are written for, weakest first.
enum class Isa { kReference = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Vnni = 3, kAvx512Bf16 = 4 };

// The best set of this machine, or the one that the environment variable CONCLAVE_ISA names
// (reference, avx2, avx512, avx512vnni, avx512bf16), which must not be above what the machine has.
// Decided at the first call. Throws Error(kInvalidArgument) for a name that cannot be honoured.
Isa best_isa();
// As best_isa(), without what a build only emulates (CONCLAVE_EMULATE_AVX512).
Isa executed_isa();
// What the machine has, or the build emulates, whatever the environment says.
Isa machine_isa();
const char* isa_name(Isa isa);

// "AMD EPYC 9654 96-Core Processor", or "unknown".
std::string cpu_model_name();

}  // namespace conclave::sys
