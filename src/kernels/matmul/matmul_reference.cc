// Plain loops: what the other kernels are tested against, and the fallback of a machine without
// AVX2. It keeps the contract's layouts (tiles of up to 4 rows, panels of 8 columns, units of one
// element, always stored as f32) and nothing else of their structure.
#include "kernels/matmul/matmul_list.h"

namespace conclave::kernels {
namespace {

constexpr std::int64_t kRows = 4;
constexpr std::int64_t kPanel = 8;

template <DType kType, class T>
float rounded(T value) {
  const float f = to_float(value);
  if constexpr (kType == DType::kBF16) return to_float(to_bf16(f));
  if constexpr (kType == DType::kF16) return to_float(to_f16(f));
  return f;
}

template <DType kCompute, bool kByRows>
void pack_left(const float* source, std::int64_t stride, std::int64_t count, std::int64_t k,
               void* packed) noexcept {
  auto* left = static_cast<float*>(packed);
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t i = 0; i < k; ++i) {
      left[i * count + r] =
          rounded<kCompute>(kByRows ? source[r * stride + i] : source[i * stride + r]);
    }
  }
}

template <DType kCompute, bool kByRows, class T>
void pack_right(const T* source, std::int64_t stride, std::int64_t count, std::int64_t k,
                void* packed) noexcept {
  auto* panel = static_cast<float*>(packed);
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t c = 0; c < kPanel; ++c) {
      panel[i * kPanel + c] =
          c >= count ? 0.0f
                     : rounded<kCompute>(kByRows ? source[c * stride + i] : source[i * stride + c]);
    }
  }
}

void product(const MatmulTile& tile) noexcept {
  const auto* left = static_cast<const float*>(tile.left);
  const auto* right = static_cast<const float*>(tile.right);
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    for (std::int64_t c = 0; c < tile.n; ++c) {
      const float* column = right + c / kPanel * kPanel * tile.units + c % kPanel;
      float sum = 0.0f;
      for (std::int64_t k = 0; k < tile.units; ++k) {
        sum += left[k * tile.rows + r] * column[k * kPanel];
      }
      float* y = tile.y + r * tile.y_stride + c;
      *y = tile.accumulate ? *y + sum : sum;
    }
  }
}

template <DType kCompute>
constexpr MatmulKernels make_reference() {
  constexpr DType kLeft = kCompute == DType::kF16 ? DType::kF32 : kCompute;
  return {sys::Isa::kReference,
          kCompute,
          kRows,
          kPanel,
          1,
          sizeof(float),
          sizeof(float),
          pack_left<kLeft, true>,
          pack_left<kLeft, false>,
          pack_right<kCompute, true, float>,
          pack_right<kCompute, false, float>,
          pack_right<kCompute, true, bf16>,
          pack_right<kCompute, false, bf16>,
          product};
}

}  // namespace

constinit const MatmulKernels kMatmulF32Reference = make_reference<DType::kF32>();
constinit const MatmulKernels kMatmulBf16Reference = make_reference<DType::kBF16>();
constinit const MatmulKernels kMatmulF16Reference = make_reference<DType::kF16>();

}  // namespace conclave::kernels
