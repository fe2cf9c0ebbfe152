// Plain loops: what the other kernels are tested against, and the fallback of a machine without
// AVX2. It keeps the contract's layouts (tiles of up to 4 rows, panels of 8 columns, units of one
// element, always stored as f32) and nothing else of their structure.
#include "kernels/matmul/matmul_list.h"

namespace conclave::kernels {
namespace {

constexpr std::int64_t kRows = 4;
constexpr std::int64_t kPanel = 8;

template <DType kCompute, class T>
float rounded(T value) {
  const float f = to_float(value);
  return kCompute == DType::kBF16 ? to_float(to_bf16(f)) : f;
}

// The unit of row r, product k in a left block.
std::int64_t left_index(std::int64_t rows, std::int64_t units, std::int64_t r, std::int64_t k) {
  const std::int64_t tiles = (rows + kRows - 1) / kRows;
  std::int64_t tile = r * tiles / rows;
  while (rows * (tile + 1) / tiles <= r) ++tile;
  const std::int64_t begin = rows * tile / tiles;
  const std::int64_t m = rows * (tile + 1) / tiles - begin;
  return begin * units + k * m + (r - begin);
}

template <DType kCompute, bool kByRows>
void pack_left(const float* source, std::int64_t stride, std::int64_t count, std::int64_t k,
               void* packed) noexcept {
  auto* left = static_cast<float*>(packed);
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t i = 0; i < k; ++i) {
      left[left_index(count, k, r, i)] =
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

void product(const MatmulBlock& block) noexcept {
  const auto* left = static_cast<const float*>(block.left);
  const auto* right = static_cast<const float*>(block.right);
  for (std::int64_t r = 0; r < block.rows; ++r) {
    for (std::int64_t c = 0; c < block.n; ++c) {
      const float* column = right + c / kPanel * kPanel * block.units + c % kPanel;
      float sum = 0.0f;
      for (std::int64_t k = 0; k < block.units; ++k) {
        sum += left[left_index(block.rows, block.units, r, k)] * column[k * kPanel];
      }
      float* y = block.y + r * block.y_stride + c;
      *y = block.accumulate ? *y + sum : sum;
    }
  }
}

template <DType kCompute>
constexpr MatmulKernels make_reference() {
  return {sys::Isa::kReference,
          kCompute,
          kRows,
          kPanel,
          1,
          sizeof(float),
          sizeof(float),
          pack_left<kCompute, true>,
          pack_left<kCompute, false>,
          pack_right<kCompute, true, float>,
          pack_right<kCompute, false, float>,
          pack_right<kCompute, true, bf16>,
          pack_right<kCompute, false, bf16>,
          product};
}

}  // namespace

constinit const MatmulKernels kMatmulF32Reference = make_reference<DType::kF32>();
constinit const MatmulKernels kMatmulBf16Reference = make_reference<DType::kBF16>();

}  // namespace conclave::kernels
