// Attention over a vector type V (kernels/simd/simd.h), forward and backward.
#pragma once

#include "kernels/attention/attention_backward_body.h"
#include "kernels/attention/attention_backward_products.h"
#include "kernels/attention/attention_forward_body.h"

namespace conclave::kernels {

template <class V>
struct AttentionBody {
  static constexpr AttentionKernel kernel(sys::Isa isa) {
    return {isa,
            AttentionTile<V>::kTileRows,
            AttentionForwardBody<V>::scratch_floats,
            AttentionForwardBody<V>::forward,
            AttentionForwardBody<V>::state_floats,
            AttentionForwardBody<V>::forward_span,
            AttentionForwardBody<V>::merge_spans,
            AttentionForwardBody<V>::to_half,
            AttentionForwardBody<V>::to_q8,
            AttentionBackwardBody<V>::scratch_floats,
            AttentionBackwardBody<V>::backward,
            AttentionBackwardProducts<V>::scratch_floats,
            AttentionBackwardProducts<V>::backward};
  }
};

}  // namespace conclave::kernels
