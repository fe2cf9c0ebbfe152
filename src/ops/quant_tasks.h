// Products with quantised weights as tasks for the threads, and their packing. Used by matmul.cc,
// and by tests to run every kernel of the list; shapes are checked by the callers.
#pragma once

#include <span>

#include "kernels/qmatmul/qmatmul_kernels.h"
#include "ops/context.h"
#include "ops/matmul.h"

namespace conclave::ops {

// The kernel for this machine.
const kernels::QuantKernels& quant_kernel();

// y = x B (or +=) for the rows of each group; every B quantised.
void multiply_quant_groups(Context& context, const kernels::QuantKernels& kernel,
                           MatrixView<const float> x, std::span<const std::int32_t> offsets_E1,
                           std::span<const PackedMatrix* const> b, MatrixView<float> y,
                           bool accumulate);

// grouped_matmul_gated where every B can_gate_quant_groups. rows_N may be empty: row i is row i.
bool can_gate_quant_groups(std::span<const PackedMatrix* const> b);
void gate_quant_groups(Context& context, const kernels::QuantKernels& kernel,
                       MatrixView<const float> x, std::span<const std::int32_t> rows_N,
                       std::span<const std::int32_t> offsets_E1,
                       std::span<const PackedMatrix* const> b, const GatedUnit& unit,
                       MatrixView<float> h);

// Panels [begin, end) of `rows`; `panels` is the first of all.
void pack_quant_panels(const BlockRows& rows, std::int64_t k, std::int64_t begin, std::int64_t end,
                       std::byte* panels);

// Row i of a part, k numbers in f32.
void decode_quant_row(const PackedMatrix::QuantPart& part, std::int64_t i, std::int64_t k,
                      float* out);

}  // namespace conclave::ops
