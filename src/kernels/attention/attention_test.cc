#include "kernels/attention/attention.h"

#include <algorithm>

#include "kernels/attention/attention_reference.h"
#include "kernels/choice.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

using testing::Guarded;
using Doubles = std::vector<double>;

struct Case {
  std::int64_t first_position, n_tokens;
  int n_heads, head_dim, window;
  std::int64_t positions() const { return first_position + n_tokens; }
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.n_tokens << " tokens from " << c.first_position << ", " << c.n_heads
             << " heads of " << c.head_dim << ", window " << c.window;
}

// Keys and values of S positions in blocks that lie apart and out of order; what no query may see
// is NaN.
template <class Real>
struct Cache {
  std::vector<Real> memory;
  std::vector<const std::byte*> blocks;

  Cache(const Doubles& keys, const Doubles& values, std::int64_t positions, int dim) {
    constexpr std::int64_t kBlock = kAttentionKeyBlock;
    const std::int64_t count = (positions + kBlock - 1) / kBlock, size = 2 * kBlock * dim + 5;
    memory.assign(static_cast<std::size_t>(count * size), static_cast<Real>(std::nan("")));
    for (std::int64_t j = 0; j < positions; ++j) {
      Real* block = memory.data() + (count - 1 - j / kBlock) * size;
      if (j % kBlock == 0) blocks.push_back(reinterpret_cast<const std::byte*>(block) - kOffset);
      for (int d = 0; d < dim; ++d) {
        const auto from = static_cast<std::size_t>(j * dim + d);
        block[d * kBlock + j % kBlock] = static_cast<Real>(keys[from]);
        block[(kBlock + j % kBlock) * dim + d] = static_cast<Real>(values[from]);
      }
    }
  }
  static constexpr std::int64_t kOffset = 64;
  KvBlocks<Real> kv() const { return {blocks.data(), kOffset}; }
};

struct Inputs {
  Doubles q, k, v, d_out;
  explicit Inputs(const Case& c, double scale = 1) {
    const auto rows = static_cast<std::size_t>(c.n_tokens * c.n_heads * c.head_dim);
    const auto keys = static_cast<std::size_t>(c.positions() * c.head_dim);
    q = rounded(testing::random_doubles(1, rows, scale));
    k = rounded(testing::random_doubles(2, keys));
    v = rounded(testing::random_doubles(3, keys));
    d_out = rounded(testing::random_doubles(4, rows));
  }
  static Doubles rounded(Doubles x) {
    for (double& value : x) value = static_cast<float>(value);
    return x;
  }
};

double scale_of(const Case& c) { return 1 / std::sqrt(static_cast<double>(c.head_dim)); }

struct Forward {
  Doubles out, lse;
};
Forward reference_forward(const Case& c, const Inputs& in) {
  const Cache<double> cache(in.k, in.v, c.positions(), c.head_dim);
  Forward f{Doubles(in.q.size()), Doubles(static_cast<std::size_t>(c.n_tokens * c.n_heads))};
  AttentionForwardOf<double> a;
  a.kv = cache.kv();
  a.q = in.q.data(), a.q_stride = c.n_heads * c.head_dim;
  a.out = f.out.data(), a.out_stride = a.q_stride;
  a.lse = f.lse.data(), a.lse_stride = c.n_heads;
  a.first_position = c.first_position, a.n_tokens = c.n_tokens;
  a.n_heads = c.n_heads, a.head_dim = c.head_dim, a.window = c.window, a.scale = scale_of(c);
  reference::attention_forward<double>(a, nullptr);
  return f;
}

struct Gradients {
  Doubles dq, dk, dv;
};
Gradients reference_backward(const Case& c, const Inputs& in, const Forward& f) {
  const Cache<double> cache(in.k, in.v, c.positions(), c.head_dim);
  Gradients g{Doubles(in.q.size()), Doubles(in.k.size()), Doubles(in.v.size())};
  AttentionBackwardOf<double> a;
  a.kv = cache.kv();
  const std::int64_t stride = c.n_heads * c.head_dim;
  a.q = in.q.data(), a.q_stride = stride;
  a.out = f.out.data(), a.out_stride = stride;
  a.lse = f.lse.data(), a.lse_stride = c.n_heads;
  a.d_out = in.d_out.data(), a.d_out_stride = stride;
  a.dq = g.dq.data(), a.dq_stride = stride;
  a.dk = g.dk.data(), a.dk_stride = c.head_dim;
  a.dv = g.dv.data(), a.dv_stride = c.head_dim;
  a.n_tokens = c.n_tokens, a.n_heads = c.n_heads, a.head_dim = c.head_dim;
  a.window = c.window, a.scale = scale_of(c);
  reference::attention_backward<double>(a, nullptr);
  return g;
}

// A kernel's scratch is exactly as large as it says, misaligned by nothing but its guards.
std::vector<float> scratch_of(std::int64_t floats) {
  return std::vector<float>(static_cast<std::size_t>(floats), std::nanf(""));
}

// The rows of tokens [begin, end) of the case, into the same rows of out and lse.
AttentionForward forward_call(const Case& c, const Cache<float>& cache, Guarded& q, Guarded& out,
                              Guarded& lse, std::int64_t begin, std::int64_t end) {
  AttentionForward a;
  a.kv = cache.kv();
  a.q = q.row(begin), a.q_stride = q.stride();
  a.out = out.row(begin), a.out_stride = out.stride();
  a.lse = lse.row(begin), a.lse_stride = lse.stride();
  a.first_position = c.first_position + begin, a.n_tokens = end - begin;
  a.n_heads = c.n_heads, a.head_dim = c.head_dim, a.window = c.window;
  a.scale = static_cast<float>(scale_of(c));
  return a;
}
void run_forward(const AttentionKernel& kernel, const Case& c, const Cache<float>& cache,
                 Guarded& q, Guarded& out, Guarded& lse, std::int64_t begin, std::int64_t end) {
  std::vector<float> scratch =
      scratch_of(kernel.forward_scratch(end - begin, c.n_heads, c.head_dim));
  kernel.forward(forward_call(c, cache, q, out, lse, begin, end), scratch.data());
}

// All spans of a call, the last first, and their merging.
void run_spans(const AttentionKernel& kernel, const AttentionForward& a,
               std::vector<float>& scratch) {
  const std::int64_t floats = kernel.state_floats(a.n_tokens, a.n_heads, a.head_dim);
  const std::int64_t spans = last_span(a) - first_span(a) + 1;
  std::vector<float> states = scratch_of(floats * spans);
  for (std::int64_t i = spans - 1; i >= 0; --i) {
    kernel.forward_span(a, first_span(a) + i, states.data() + i * floats, scratch.data());
  }
  kernel.merge_spans(a, states.data(), spans);
}

Guarded guarded(const Doubles& values, std::int64_t rows, std::int64_t cols, int offset) {
  Guarded g(rows, cols, offset, offset % 3);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < cols; ++i) {
      g.row(r)[i] = static_cast<float>(values[static_cast<std::size_t>(r * cols + i)]);
    }
  }
  return g;
}

const Case kCases[] = {
    {0, 1, 1, 16, 0},    {0, 5, 1, 1, 0},     {0, 7, 2, 3, 0},      {0, 65, 1, 8, 0},
    {0, 64, 3, 32, 0},   {5, 1, 4, 64, 0},    {63, 1, 4, 64, 0},    {64, 1, 8, 64, 0},
    {65, 2, 7, 24, 0},   {200, 13, 4, 64, 0}, {0, 150, 2, 40, 0},   {17, 100, 1, 80, 0},
    {0, 40, 2, 128, 0},  {31, 33, 3, 100, 0}, {0, 20, 1, 256, 0},   {0, 9, 13, 16, 0},
    {0, 130, 2, 32, 1},  {0, 130, 2, 32, 7},  {0, 200, 1, 64, 64},  {100, 90, 3, 16, 65},
    {300, 1, 4, 64, 30}, {10, 70, 2, 8, 500}, {0, 150, 5, 16, 129}, {0, 6, 60, 16, 3},
};
// Over several spans.
const Case kLongCases[] = {
    {1020, 9, 2, 16, 0},    {2100, 3, 8, 20, 0},  {1023, 1, 1, 64, 0},
    {3000, 2, 2, 16, 1100}, {2047, 40, 1, 8, 30},
};
std::vector<Case> forward_cases() {
  std::vector<Case> cases(std::begin(kCases), std::end(kCases));
  cases.insert(cases.end(), std::begin(kLongCases), std::end(kLongCases));
  return cases;
}

TEST(Attention, ReferenceGradientIsRight) {
  for (const Case& c : {Case{0, 6, 2, 5, 0}, Case{0, 9, 3, 4, 3}, Case{0, 1, 1, 3, 0}}) {
    SCOPED_TRACE(::testing::PrintToString(c.n_tokens));
    Inputs in(c);
    const Gradients g = reference_backward(c, in, reference_forward(c, in));
    const auto loss = [&] { return testing::weighted_sum(reference_forward(c, in).out, in.d_out); };
    testing::expect_gradient(in.q, g.dq, loss, "dq");
    testing::expect_gradient(in.k, g.dk, loss, "dk");
    testing::expect_gradient(in.v, g.dv, loss, "dv");
  }
}

TEST(Attention, ReferenceByHand) {
  // Two positions; the second query weighs the two values by softmax(0, ln 3) = (1/4, 3/4).
  const Case c{0, 2, 1, 1, 0};
  Inputs in(c);
  in.q = {5, 1};
  in.k = {0, std::log(3.0)};
  in.v = {8, 4};
  const Forward f = reference_forward(c, in);
  EXPECT_NEAR(f.out[0], 8, 1e-15);
  EXPECT_NEAR(f.out[1], 5, 1e-14);
  EXPECT_NEAR(f.lse[1], std::log(4.0), 1e-14);
}

TEST(Attention, ForwardMatchesReference) {
  for (const auto& kernel : runnable(attention_kernels())) {
    for (const Case& c : forward_cases()) {
      for (double scale : {1.0, 8.0}) {
        SCOPED_TRACE(::testing::Message() << sys::isa_name(kernel.isa) << ": " << c);
        const Inputs in(c, scale);
        const Forward wanted = reference_forward(c, in);
        const Cache<float> cache(in.k, in.v, c.positions(), c.head_dim);
        const std::int64_t width = c.n_heads * c.head_dim;
        Guarded q = guarded(in.q, c.n_tokens, width, 1);
        Guarded out(c.n_tokens, width, 2), lse(c.n_tokens, c.n_heads, 3);
        run_forward(kernel, c, cache, q, out, lse, 0, c.n_tokens);
        testing::expect_close(out.floats(), wanted.out, 3e-6 * scale, "out");
        testing::expect_close(lse.floats(), wanted.lse, 1e-6 * scale, "lse");
        ASSERT_TRUE(q.intact() && out.intact() && lse.intact());
      }
    }
  }
}

// A case with all its rows computed at once.
struct WholeForward {
  Inputs in;
  Cache<float> cache;
  std::int64_t width;
  Guarded q, out, lse;

  WholeForward(const AttentionKernel& kernel, const Case& c)
      : in(c, 3),
        cache(in.k, in.v, c.positions(), c.head_dim),
        width(std::int64_t{c.n_heads} * c.head_dim),
        q(guarded(in.q, c.n_tokens, width, 1)),
        out(c.n_tokens, width),
        lse(c.n_tokens, c.n_heads) {
    run_forward(kernel, c, cache, q, out, lse, 0, c.n_tokens);
  }
};

// The same bits alone, in chunks of any size, and at once.
TEST(Attention, BitsDoNotDependOnChunks) {
  for (const auto& kernel : runnable(attention_kernels())) {
    for (const Case& c : forward_cases()) {
      SCOPED_TRACE(::testing::Message() << sys::isa_name(kernel.isa) << ": " << c);
      WholeForward whole(kernel, c);
      for (std::int64_t chunk : {1, 2, 3, 7, 16}) {
        Guarded parts(c.n_tokens, whole.width, 9), lse_parts(c.n_tokens, c.n_heads, 1);
        for (std::int64_t t = 0; t < c.n_tokens; t += chunk) {
          run_forward(kernel, c, whole.cache, whole.q, parts, lse_parts, t,
                      std::min(c.n_tokens, t + chunk));
        }
        ASSERT_TRUE(testing::same_bits(whole.out.floats(), parts.floats()))
            << "chunks of " << chunk;
        ASSERT_TRUE(testing::same_bits(whole.lse.floats(), lse_parts.floats()));
      }
    }
  }
}

// Every length, and what halves cannot hold: ties, subnormal, too large and infinite numbers.
TEST(Attention, ToHalfRoundsAsTheReference) {
  for (const auto& kernel : runnable(attention_kernels())) {
    for (std::size_t n = 0; n < 70; ++n) {
      std::vector<float> from;
      for (const double x : testing::random_doubles(n + 1, n, 1e3)) {
        from.push_back(static_cast<float>(x));
      }
      const float hard[] = {65519.f,        65520.f,        -1e30f, HUGE_VALF,
                            1 + 1 / 2048.f, 1 + 3 / 2048.f, 3e-8f,  -0.f};
      for (std::size_t i = 0; i < n; i += 3) from[i] = hard[i / 3 % std::size(hard)];
      std::vector<f16> expected(n), to(n + 1, f16{0x7e01});
      reference::to_half(from.data(), expected.data(), static_cast<std::int64_t>(n));
      kernel.to_half(from.data(), to.data(), static_cast<std::int64_t>(n));
      for (std::size_t i = 0; i < n; ++i) {
        if (std::isnan(from[i])) {
          EXPECT_TRUE(std::isnan(to_float(to[i])));
        } else {
          EXPECT_EQ(to[i].bits, expected[i].bits) << from[i];
        }
      }
      EXPECT_EQ(to[n].bits, 0x7e01) << "written past " << n;
    }
  }
}

// Keys and values of a case in Q8_0, rounded as the reference rounds them; what no query may see
// is NaN.
struct CacheQ8 {
  std::vector<std::byte> memory;
  std::vector<std::byte*> blocks;
  int dim;

  CacheQ8(const Doubles& keys, const Doubles& values, std::int64_t positions, int head_dim)
      : dim(head_dim) {
    const std::int64_t count = (positions + kAttentionKeyBlock - 1) / kAttentionKeyBlock;
    const std::int64_t size = kv_head_bytes(dim, KvType::kQ8_0);
    memory.assign(static_cast<std::size_t>(count * size), std::byte{0xff});
    for (std::int64_t i = 0; i < count; ++i) blocks.push_back(memory.data() + i * size);
    const std::int64_t groups = kv_scale_groups(dim);
    std::vector<std::int8_t> whole(static_cast<std::size_t>(dim));
    std::vector<f16> scales(static_cast<std::size_t>(groups));
    for (std::int64_t j = 0; j < positions; ++j) {
      const std::int64_t block = j / kAttentionKeyBlock, lane = j % kAttentionKeyBlock;
      const auto round = [&](const Doubles& of) {
        const std::vector<float> row(of.begin() + j * dim, of.begin() + (j + 1) * dim);
        reference::to_q8(row.data(), whole.data(), scales.data(), dim);
      };
      round(keys);
      for (int i = 0; i < dim; ++i) {
        at(kv().keys(block))[i * kAttentionKeyBlock + lane] = whole[static_cast<std::size_t>(i)];
      }
      for (std::int64_t g = 0; g < groups; ++g) {
        at(kv().key_scales(block, dim))[g * kAttentionKeyBlock + lane] =
            scales[static_cast<std::size_t>(g)];
      }
      round(values);
      std::copy(whole.begin(), whole.end(), at(kv().values(block, dim)) + lane * dim);
      std::copy(scales.begin(), scales.end(), at(kv().value_scales(block, dim)) + lane * groups);
    }
  }
  KvBlocksQ8 kv() const { return {blocks.data(), 0}; }
  // The same numbers in f32.
  Cache<float> widened(std::int64_t positions) const {
    Doubles keys, values;
    for (std::int64_t j = 0; j < positions; ++j) {
      for (int i = 0; i < dim; ++i) {
        keys.push_back(double{reference::key_at(kv(), dim, j, i)});
        values.push_back(double{reference::value_at(kv(), dim, j, i)});
      }
    }
    return {keys, values, positions, dim};
  }

 private:
  // A place in `memory`, which is ours to write.
  template <class T>
  static T* at(const T* place) {
    return const_cast<T*>(place);
  }
};

// The numbers of a cache in f16, where they are exact.
struct HalfCache {
  std::vector<f16> memory;
  std::vector<const std::byte*> blocks;

  explicit HalfCache(const Cache<float>& cache) {
    for (const float number : cache.memory) memory.push_back(to_f16(number));
    const auto* begin = reinterpret_cast<const std::byte*>(cache.memory.data());
    for (const std::byte* block : cache.blocks) {
      const auto at = (block + Cache<float>::kOffset - begin) / std::ptrdiff_t{sizeof(float)};
      blocks.push_back(reinterpret_cast<const std::byte*>(memory.data() + at) -
                       Cache<float>::kOffset);
    }
  }
  KvBlocks<f16> kv() const { return {blocks.data(), Cache<float>::kOffset}; }
};

// Keys and values in f16 give the bits of the same numbers in f32, at once and span by span: rows
// that read keys and values as two streams and rows that do not, over whole blocks and parts. What
// no query sees is NaN.
TEST(Attention, HalfIsReadAsItsNumbers) {
  const Case cases[] = {
      {0, 1, 1, 64, 0},      {63, 1, 2, 128, 0},   {64, 1, 3, 64, 0},     {200, 1, 1, 128, 0},
      {200, 1, 2, 136, 0},   {200, 1, 4, 8, 0},    {255, 1, 3, 24, 0},    {200, 1, 5, 64, 0},
      {200, 1, 8, 64, 0},    {1500, 1, 1, 64, 0},  {1500, 1, 4, 128, 0},  {1500, 1, 2, 64, 700},
      {1500, 1, 3, 64, 700}, {300, 1, 1, 64, 30},  {300, 1, 1, 64, 193},  {300, 1, 3, 33, 0},
      {1500, 1, 1, 16, 100}, {200, 2, 1, 64, 0},   {120, 40, 2, 64, 0},   {2047, 1, 1, 576, 0},
      {2048, 1, 1, 128, 65}, {1087, 1, 4, 40, 64}, {1500, 1, 4, 64, 700},
  };
  for (const auto& kernel : runnable(attention_kernels())) {
    for (const Case& c : cases) {
      for (const std::int64_t first_key : {std::int64_t{0}, c.first_position / 3}) {
        SCOPED_TRACE(::testing::Message()
                     << sys::isa_name(kernel.isa) << ": " << c << ", keys from " << first_key);
        Inputs in(c);
        const std::int64_t in_window = c.window > 0 ? c.first_position - c.window + 1 : 0;
        for (Doubles* numbers : {&in.k, &in.v}) {
          for (double& number : *numbers) number = to_float(to_f16(static_cast<float>(number)));
          const std::int64_t unseen =
              std::max({std::int64_t{0}, in_window, first_key}) * c.head_dim;
          std::fill(numbers->begin(), numbers->begin() + unseen, std::nan(""));
        }
        const Cache<float> cache(in.k, in.v, c.positions(), c.head_dim);
        const HalfCache half(cache);
        const std::int64_t width = std::int64_t{c.n_heads} * c.head_dim;
        Guarded q = guarded(in.q, c.n_tokens, width, 1);
        std::vector<float> scratch =
            scratch_of(kernel.forward_scratch(c.n_tokens, c.n_heads, c.head_dim));
        const auto call = [&](Guarded& out, Guarded& lse) {
          AttentionForward a = forward_call(c, cache, q, out, lse, 0, c.n_tokens);
          a.first_key = first_key;
          return a;
        };
        Guarded wanted(c.n_tokens, width), wanted_lse(c.n_tokens, c.n_heads);
        kernel.forward(call(wanted, wanted_lse), scratch.data());
        Guarded out(c.n_tokens, width, 2), lse(c.n_tokens, c.n_heads, 3);
        AttentionForward a = call(out, lse);
        a.kv = {};
        a.kv_half = half.kv();
        kernel.forward(a, scratch.data());
        const std::vector<float> numbers = wanted.floats();
        ASSERT_TRUE(
            std::all_of(numbers.begin(), numbers.end(), [](float x) { return std::isfinite(x); }));
        ASSERT_TRUE(testing::same_bits(out.floats(), wanted.floats()));
        ASSERT_TRUE(testing::same_bits(lse.floats(), wanted_lse.floats()));
        ASSERT_TRUE(out.intact() && lse.intact());

        if (kernel.forward_span == nullptr) continue;
        Guarded merged(c.n_tokens, width), merged_lse(c.n_tokens, c.n_heads);
        a.out = merged.row(0), a.out_stride = merged.stride();
        a.lse = merged_lse.row(0), a.lse_stride = merged_lse.stride();
        run_spans(kernel, a, scratch);
        ASSERT_TRUE(testing::same_bits(merged.floats(), wanted.floats()));
        ASSERT_TRUE(testing::same_bits(merged_lse.floats(), wanted_lse.floats()));
      }
    }
  }
}

// Keys and values in Q8_0 give the bits of the same numbers in f32: few rows and many, every set of
// instructions, and near the reference.
TEST(Attention, Q8IsReadAsItsNumbers) {
  for (const auto& kernel : runnable(attention_kernels())) {
    for (const int dim : {8, 33, 64, 128, 144, 576}) {
      for (const std::int64_t tokens : {1, 3, 30}) {
        const Case c{70, tokens, 2, dim, tokens == 3 ? 50 : 0};
        SCOPED_TRACE(::testing::Message() << sys::isa_name(kernel.isa) << ": " << c);
        const Inputs in(c);
        const CacheQ8 cache(in.k, in.v, c.positions(), dim);
        const Cache<float> widened = cache.widened(c.positions());
        const std::int64_t width = std::int64_t{c.n_heads} * dim;
        Guarded q = guarded(in.q, tokens, width, 1);
        Guarded out(tokens, width), lse(tokens, c.n_heads);
        Guarded wanted(tokens, width), wanted_lse(tokens, c.n_heads);
        Guarded plain(tokens, width), plain_lse(tokens, c.n_heads);
        std::vector<float> scratch = scratch_of(kernel.forward_scratch(tokens, c.n_heads, dim));
        kernel.forward(forward_call(c, widened, q, wanted, wanted_lse, 0, tokens), scratch.data());
        const auto over_q8 = [&](Guarded& to, Guarded& lse_to) {
          AttentionForward a = forward_call(c, widened, q, to, lse_to, 0, tokens);
          a.kv = {};
          a.kv_q8 = cache.kv();
          return a;
        };
        kernel.forward(over_q8(out, lse), scratch.data());
        ASSERT_TRUE(testing::same_bits(out.floats(), wanted.floats()));
        ASSERT_TRUE(testing::same_bits(lse.floats(), wanted_lse.floats()));
        reference::attention_forward(over_q8(plain, plain_lse), static_cast<float*>(nullptr));
        const std::vector<float> near = plain.floats();
        testing::expect_close(out.floats(), Doubles(near.begin(), near.end()), 1e-5, "out");
        ASSERT_TRUE(out.intact() && lse.intact());
      }
    }
  }
}

// Whole and broken groups; nothing, tiny, ordinary, large and too large numbers, and what is none.
TEST(Attention, ToQ8RoundsAsTheReference) {
  for (const auto& kernel : runnable(attention_kernels())) {
    for (std::size_t n = 1; n < 100; ++n) {
      for (const double scale : {0., 1e-9, 1e-6, 1., 1e5, 1e30}) {
        std::vector<float> from;
        for (const double x : testing::random_doubles(n, n, scale)) {
          from.push_back(static_cast<float>(x));
        }
        if (n % 7 == 0) from[n / 2] = n % 2 == 0 ? NAN : -HUGE_VALF;
        const auto groups = static_cast<std::size_t>(kv_scale_groups(static_cast<std::int64_t>(n)));
        std::vector<std::int8_t> expected(n), to(n + 1, 77);
        std::vector<f16> expected_scales(groups), scales(groups + 1, f16{0x1234});
        reference::to_q8(from.data(), expected.data(), expected_scales.data(),
                         static_cast<std::int64_t>(n));
        kernel.to_q8(from.data(), to.data(), scales.data(), static_cast<std::int64_t>(n));
        for (std::size_t g = 0; g < groups; ++g) {
          ASSERT_EQ(scales[g].bits, expected_scales[g].bits) << "group " << g << " of " << n;
          if (std::isnan(to_float(scales[g]))) continue;
          for (std::size_t i = 32 * g; i < std::min(n, 32 * g + 32); ++i) {
            ASSERT_EQ(to[i], expected[i]) << from[i] << " with scale " << to_float(scales[g]);
          }
        }
        ASSERT_EQ(to[n], 77);
        ASSERT_EQ(scales[groups].bits, 0x1234);
      }
    }
  }
}

// Spans computed apart, the last one first.
TEST(Attention, SpansGiveTheSameBits) {
  for (const auto& kernel : runnable(attention_kernels())) {
    if (kernel.forward_span == nullptr) continue;
    for (const Case& c : forward_cases()) {
      SCOPED_TRACE(::testing::Message() << sys::isa_name(kernel.isa) << ": " << c);
      WholeForward whole(kernel, c);
      Guarded again(c.n_tokens, whole.width, 5), lse_again(c.n_tokens, c.n_heads, 2);
      const AttentionForward a =
          forward_call(c, whole.cache, whole.q, again, lse_again, 0, c.n_tokens);
      std::vector<float> scratch =
          scratch_of(kernel.forward_scratch(c.n_tokens, c.n_heads, c.head_dim));
      run_spans(kernel, a, scratch);
      ASSERT_TRUE(testing::same_bits(whole.out.floats(), again.floats()));
      ASSERT_TRUE(testing::same_bits(whole.lse.floats(), lse_again.floats()));
      ASSERT_TRUE(again.intact() && lse_again.intact());
    }
  }
}

// Keys outside the window, and underflows to -0, change no bit.
TEST(Attention, UnseenKeysChangeNoBit) {
  for (const auto& kernel : runnable(attention_kernels())) {
    for (const Case& c : {Case{0, 180, 2, 16, 20}, Case{0, 180, 1, 24, 70}}) {
      Inputs in(c);
      for (double& value : in.v) value = value < 0 ? -1e-45 : value;  // products underflow to -0
      const Cache<float> cache(in.k, in.v, c.positions(), c.head_dim);
      const std::int64_t width = c.n_heads * c.head_dim;
      Guarded q = guarded(in.q, c.n_tokens, width, 1);
      Guarded out(c.n_tokens, width), lse(c.n_tokens, c.n_heads), again(c.n_tokens, width);
      run_forward(kernel, c, cache, q, out, lse, 0, c.n_tokens);
      for (std::int64_t t = 0; t < c.n_tokens; ++t) {
        // Everything that this query does not see becomes something else.
        Inputs other = in;
        for (std::int64_t j = 0; j < c.positions(); ++j) {
          if (j <= t && t - j < c.window) continue;
          for (int d = 0; d < c.head_dim; ++d) {
            const auto at = static_cast<std::size_t>(j * c.head_dim + d);
            other.k[at] = 1e30;
            other.v[at] = std::nan("");
          }
        }
        const Cache<float> changed(other.k, other.v, c.positions(), c.head_dim);
        run_forward(kernel, c, changed, q, again, lse, t, t + 1);
      }
      ASSERT_TRUE(testing::same_bits(out.floats(), again.floats())) << sys::isa_name(kernel.isa);
    }
  }
}

// A case with all it needs of a backward pass, and guarded outputs.
struct BackwardRun {
  Case c;
  Inputs in;
  Forward f;
  Gradients wanted;
  Cache<float> cache;
  Guarded q, out, d_out, lse, dq, dk, dv;

  static Case from_zero(Case c) {
    c.n_tokens += c.first_position;
    c.first_position = 0;
    return c;
  }
  explicit BackwardRun(const Case& any)
      : c(from_zero(any)),
        in(c, 2),
        f(reference_forward(c, in)),
        wanted(reference_backward(c, in, f)),
        cache(in.k, in.v, c.positions(), c.head_dim),
        q(guarded(in.q, c.n_tokens, width(), 1)),
        out(guarded(f.out, c.n_tokens, width(), 2)),
        d_out(guarded(in.d_out, c.n_tokens, width(), 3)),
        lse(guarded(f.lse, c.n_tokens, c.n_heads, 4)),
        dq(c.n_tokens, width(), 5),
        dk(c.n_tokens, c.head_dim, 6),
        dv(c.n_tokens, c.head_dim) {}
  std::int64_t width() const { return std::int64_t{c.n_heads} * c.head_dim; }

  AttentionBackward arguments() {
    AttentionBackward a;
    a.kv = cache.kv();
    a.q = q.data(), a.q_stride = q.stride();
    a.out = out.data(), a.out_stride = out.stride();
    a.lse = lse.data(), a.lse_stride = lse.stride();
    a.d_out = d_out.data(), a.d_out_stride = d_out.stride();
    a.dq = dq.data(), a.dq_stride = dq.stride();
    a.dk = dk.data(), a.dk_stride = dk.stride();
    a.dv = dv.data(), a.dv_stride = dv.stride();
    a.n_tokens = c.n_tokens, a.n_heads = c.n_heads, a.head_dim = c.head_dim;
    a.window = c.window, a.scale = static_cast<float>(scale_of(c));
    return a;
  }
  // Distance of each gradient from the reference, as a share of its length; the rest is for few
  // tokens, where <do, v> - delta cancels and leaves the rounding alone.
  void expect_direction(double share) {
    const auto check = [&](const std::vector<float>& found, const Doubles& wanted_values,
                           const char* what) {
      double difference = 0, length = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        difference += std::pow(static_cast<double>(found[i]) - wanted_values[i], 2);
        length += std::pow(wanted_values[i], 2);
      }
      EXPECT_LE(std::sqrt(difference), share * std::sqrt(length) + 0.02) << what;
    };
    check(dq.floats(), wanted.dq, "dq");
    check(dk.floats(), wanted.dk, "dk");
    check(dv.floats(), wanted.dv, "dv");
    ASSERT_TRUE(dq.intact() && dk.intact() && dv.intact());
  }
  void expect_near(double tolerance) {
    testing::expect_close(dq.floats(), wanted.dq, tolerance, "dq");
    testing::expect_close(dk.floats(), wanted.dk, tolerance, "dk");
    testing::expect_close(dv.floats(), wanted.dv, tolerance, "dv");
    ASSERT_TRUE(dq.intact() && dk.intact() && dv.intact());
  }
};

TEST(Attention, BackwardMatchesReference) {
  for (const auto& kernel : runnable(attention_kernels())) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(::testing::Message() << sys::isa_name(kernel.isa) << ": " << c);
      BackwardRun run(c);
      std::vector<float> scratch =
          scratch_of(kernel.backward_scratch(run.c.n_tokens, c.n_heads, c.head_dim));
      kernel.backward(run.arguments(), scratch.data());
      run.expect_near(2e-5);
    }
  }
}

// Over matrix products of every type and instruction set that the machine has; f32 products show
// that nothing but their rounding is between the two ways.
TEST(Attention, BackwardOverProductsMatchesReference) {
  for (const auto& kernel : runnable(attention_kernels())) {
    if (kernel.backward_products == nullptr) continue;
    for (const MatmulKernels* products : all_matmul_kernels()) {
      if (products->isa > sys::machine_isa()) continue;
      const bool exact = products->compute == DType::kF32;
      const MatmulKernels& scores = matmul_kernels(products->isa, DType::kF32);
      std::vector<Case> cases(std::begin(kCases), std::end(kCases));
      cases.push_back({0, 300, 2, 64, 0});  // two chunks of rows
      cases.push_back({0, 577, 1, 20, 0});
      for (const Case& c : cases) {
        if (c.window > 0) continue;
        SCOPED_TRACE(::testing::Message()
                     << sys::isa_name(kernel.isa) << " over " << sys::isa_name(products->isa) << ' '
                     << dtype_name(products->compute) << ": " << c);
        BackwardRun run(c);
        const std::int64_t floats =
            kernel.products_scratch(run.c.n_tokens, c.head_dim, scores, *products);
        std::vector<float> scratch = scratch_of(floats + 16);
        const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
        float* aligned = scratch.data() + (64 - address % 64) % 64 / sizeof(float);
        kernel.backward_products(run.arguments(), scores, *products, aligned);
        // bf16 rounds each factor by up to 2^-9 of it: the error of a sum is a share of the whole
        // gradient's size, not of the element's.
        exact ? run.expect_near(2e-5) : run.expect_direction(0.01);
      }
    }
  }
}

}  // namespace
}  // namespace conclave::kernels
