#include "sys/cpu.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/error.h"

namespace conclave::sys {
namespace {

constexpr Isa kAll[] = {Isa::kReference, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni,
                        Isa::kAvx512Bf16};

Isa detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::kReference;
#ifdef CONCLAVE_EMULATE_AVX512
  return Isa::kAvx512Bf16;
#endif
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return Isa::kAvx2;
  }
  if (!__builtin_cpu_supports("avx512vnni")) return Isa::kAvx512;
  return __builtin_cpu_supports("avx512bf16") ? Isa::kAvx512Bf16 : Isa::kAvx512Vnni;
}

Isa choose() {
  const char* forced = std::getenv("CONCLAVE_ISA");
  if (forced == nullptr || *forced == '\0') return machine_isa();
  for (Isa isa : kAll) {
    if (std::string(isa_name(isa)) != forced) continue;
    if (isa > machine_isa()) {
      fail(ErrorKind::kInvalidArgument, "CONCLAVE_ISA={}: this machine has only {}", forced,
           isa_name(machine_isa()));
    }
    return isa;
  }
  fail(ErrorKind::kInvalidArgument,
       "CONCLAVE_ISA={}: expected one of reference, avx2, avx512, avx512vnni, avx512bf16", forced);
}

}  // namespace

Isa machine_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa best_isa() {
  static const Isa isa = choose();
  return isa;
}

Isa executed_isa() {
#ifdef CONCLAVE_EMULATE_AVX512
  return std::min(best_isa(), Isa::kAvx2);
#else
  return best_isa();
#endif
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kReference:
      return "reference";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
  }
  return "unknown";
}

std::string cpu_model_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const auto colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace conclave::sys
