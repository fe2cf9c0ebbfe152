#include "ops/attention.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/error.h"
#include "kernels/choice.h"
#include "kernels/matmul/matmul_kernels.h"
#include "sys/cpu.h"

namespace conclave::ops {
namespace {

// Less than this is done by the calling thread: the others answer within 2 us while a model runs,
// and far later where other programs keep the cores busy.
constexpr std::int64_t kAppendAlone = 1 << 10;   // numbers copied, each to a cache line of its own
constexpr std::int64_t kAttendAlone = 64 << 10;  // multiplications of queries with keys

// Fewer tiles than this a thread, and each is taken apart where its context is long.
constexpr std::int64_t kTasksPerThread = 4;
// Unless the spans' states would take more than this.
constexpr std::int64_t kMostStateFloats = 16 << 20;

const kernels::AttentionKernel& kernel() {
  static const kernels::AttentionKernel& chosen = kernels::best(kernels::attention_kernels());
  return chosen;
}

void check_shape(const AttentionShape& shape) {
  CONCLAVE_CHECK(shape.n_kv_heads > 0 && shape.n_heads > 0 && shape.head_dim > 0);
  CONCLAVE_CHECK(shape.n_heads % shape.n_kv_heads == 0, "{} query heads over {} key/value heads",
                 shape.n_heads, shape.n_kv_heads);
  CONCLAVE_CHECK(shape.window >= 0, "window {}", shape.window);
}

// How the backward pass of a shape is made: by the attention kernel alone, or over products.
struct BackwardKernel {
  const kernels::MatmulKernels* scores = nullptr;
  const kernels::MatmulKernels* products = nullptr;

  explicit BackwardKernel(const AttentionShape& shape) {
    if (shape.backward != DType::kBF16 || shape.window > 0) return;
    if (kernel().backward_products == nullptr) return;
    scores = &kernels::matmul_kernels(sys::best_isa(), DType::kF32);
    products = &kernels::matmul_kernels(sys::best_isa(), DType::kBF16);
  }
  std::int64_t scratch(std::int64_t tokens, int heads, int head_dim) const {
    return products == nullptr ? kernel().backward_scratch(tokens, heads, head_dim)
                               : kernel().products_scratch(tokens, head_dim, *scores, *products);
  }
  void operator()(const kernels::AttentionBackward& a, float* memory) const {
    if (products == nullptr) return kernel().backward(a, memory);
    kernel().backward_products(a, *scores, *products, memory);
  }
};

// Every segment lies within `rows` rows and within its cache.
void check_segments(std::span<const AttentionSegment> segments, std::int64_t rows) {
  for (const AttentionSegment& s : segments) {
    CONCLAVE_CHECK(s.row_begin >= 0 && s.row_count >= 0 && s.row_begin + s.row_count <= rows,
                   "segment of rows {}+{} in a batch of {}", s.row_begin, s.row_count, rows);
    CONCLAVE_CHECK(s.first_position >= 0 && s.first_position + s.row_count <= s.kv.capacity(),
                   "positions {}+{} in a cache of {}", s.first_position, s.row_count,
                   s.kv.capacity());
  }
}

template <class T>
void check_cols(MatrixView<T> m, std::int64_t heads, const AttentionShape& shape) {
  CONCLAVE_CHECK(m.cols == heads * shape.head_dim, "{} columns for {} heads of {}", m.cols, heads,
                 shape.head_dim);
}

// Blocks, a kernels::KvBlocks<T> or KvBlocksQ8, of one head.
template <class Blocks>
Blocks blocks_of(const KvView& kv, const AttentionShape& shape, std::int64_t head) {
  return {kv.blocks, kv.offset + head * kernels::kv_head_bytes(shape.head_dim, kv.type)};
}

void convert(const float* from, float* to, std::int64_t n) { std::copy_n(from, n, to); }
void convert(const float* from, f16* to, std::int64_t n) { kernel().to_half(from, to, n); }

// A key goes to one lane of its block, `lane` the first of it.
template <class T>
void scatter(const T* from, T* lane, std::int64_t n) {
  for (std::int64_t d = 0; d < n; ++d) lane[d * kKeyBlock] = from[d];
}

template <class T>
void append_row(const kernels::KvBlocks<T>& kv, std::int64_t position, std::int64_t width,
                const float* k_row, const float* v_row) {
  T* const keys = const_cast<T*>(kv.keys(position / kKeyBlock));
  const std::int64_t at = position % kKeyBlock;
  convert(v_row, keys + (kKeyBlock + at) * width, width);
  T part[64];
  for (std::int64_t d = 0; d < width; d += std::ssize(part)) {
    const std::int64_t n = std::min<std::int64_t>(std::ssize(part), width - d);
    convert(k_row + d, part, n);
    scatter(part, keys + d * kKeyBlock + at, n);
  }
}

void append_row(const kernels::KvBlocksQ8& kv, std::int64_t position, std::int64_t width,
                const float* k_row, const float* v_row) {
  const std::int64_t block = position / kKeyBlock, at = position % kKeyBlock;
  const int dim = static_cast<int>(width);
  auto* const keys = const_cast<std::int8_t*>(kv.keys(block));
  f16* const key_scales = const_cast<f16*>(kv.key_scales(block, dim));
  f16* const value_scales = const_cast<f16*>(kv.value_scales(block, dim));
  auto* const values = const_cast<std::int8_t*>(kv.values(block, dim));
  kernel().to_q8(v_row, values + at * width, value_scales + at * kernels::kv_scale_groups(width),
                 width);
  std::int8_t part[kernels::kKvScaleGroup];
  for (std::int64_t d = 0, group = 0; d < width; d += std::ssize(part), ++group) {
    const std::int64_t n = std::min<std::int64_t>(std::ssize(part), width - d);
    kernel().to_q8(k_row + d, part, key_scales + group * kKeyBlock + at, n);
    scatter(part, keys + d * kKeyBlock + at, n);
  }
}

template <class Blocks>
void append_head(const AttentionShape& shape, const AttentionSegment& s, std::int64_t head,
                 MatrixView<const float> k, MatrixView<const float> v) {
  const auto blocks = blocks_of<Blocks>(s.kv, shape, head);
  for (std::int64_t t = 0; t < s.row_count; ++t) {
    const std::int64_t row = s.row_begin + t, column = head * shape.head_dim;
    append_row(blocks, s.first_position + t, shape.head_dim, k.row(row) + column,
               v.row(row) + column);
  }
}

void append_head(const AttentionShape& shape, const AttentionSegment& s, std::int64_t head,
                 MatrixView<const float> k, MatrixView<const float> v) {
  switch (s.kv.type) {
    case KvType::kF32:
      return append_head<kernels::KvBlocks<float>>(shape, s, head, k, v);
    case KvType::kF16:
      return append_head<kernels::KvBlocks<f16>>(shape, s, head, k, v);
    case KvType::kQ8_0:
      return append_head<kernels::KvBlocksQ8>(shape, s, head, k, v);
  }
}

// Segments cut where chunks of positions begin: within each, the first visible key is one number.
std::vector<AttentionSegment> cut_at_chunks(std::span<const AttentionSegment> segments, int chunk) {
  std::vector<AttentionSegment> pieces;
  for (AttentionSegment rest : segments) {
    while (rest.row_count > 0) {
      AttentionSegment piece = rest;
      piece.row_count = std::min(rest.row_count, chunk - rest.first_position % chunk);
      pieces.push_back(piece);
      rest.row_begin += piece.row_count;
      rest.first_position += piece.row_count;
      rest.row_count -= piece.row_count;
    }
  }
  return pieces;
}

// Tokens whose query heads over one key/value head are computed together.
std::int64_t tokens_of_tile(const AttentionShape& shape) {
  return std::max(1, kernel().tile_rows / (shape.n_heads / shape.n_kv_heads));
}

// Where each segment's tasks begin, in the order (segment, key/value head, tile of tokens).
struct Tiling {
  std::int64_t tokens_per_tile;
  std::vector<std::int64_t> first_task;  // one entry more than there are segments

  Tiling(std::span<const AttentionSegment> segments, const AttentionShape& shape)
      : tokens_per_tile(tokens_of_tile(shape)) {
    first_task.reserve(segments.size() + 1);
    first_task.push_back(0);
    for (const AttentionSegment& s : segments) {
      first_task.push_back(first_task.back() + tiles(s) * shape.n_kv_heads);
    }
  }
  std::int64_t tiles(const AttentionSegment& s) const {
    return (s.row_count + tokens_per_tile - 1) / tokens_per_tile;
  }
  // What a task works on.
  struct Place {
    AttentionSegment segment;
    std::int64_t head, tile;
  };
  Place place(std::span<const AttentionSegment> segments, std::int64_t task) const {
    const auto after = std::upper_bound(first_task.begin(), first_task.end(), task);
    const auto index = static_cast<std::size_t>(after - first_task.begin()) - 1;
    const std::int64_t local = task - first_task[index];
    return {segments[index], local / tiles(segments[index]), local % tiles(segments[index])};
  }
};

// Rows whose keys and values are yet to be appended; none where k has no rows.
struct NewRows {
  MatrixView<const float> k, v;
};

// Whether each segment's new rows are read by one task of a head alone, in one span and one chunk:
// then that task can append them.
bool one_task_reads_new_rows(std::span<const AttentionSegment> segments,
                             const AttentionShape& shape) {
  return std::all_of(segments.begin(), segments.end(), [&](const AttentionSegment& s) {
    const std::int64_t last = s.first_position + s.row_count - 1;
    const auto together = [&](std::int64_t size) {
      return size == 0 || s.first_position / size == last / size;
    };
    return s.row_count == 0 || (s.row_count <= tokens_of_tile(shape) &&
                                together(kernels::kAttentionSpan) && together(shape.chunk));
  });
}

// A forward pass over segments, each within one chunk.
struct Forward {
  const AttentionShape& shape;
  std::span<const AttentionSegment> segments;
  MatrixView<const float> q;
  NewRows rows;
  MatrixView<float> out;
  float* lse_TH;
  Tiling tiling;

  int shared() const { return shape.n_heads / shape.n_kv_heads; }

  void append_rows(std::int64_t task) const {
    if (rows.k.rows == 0) return;
    const auto [s, head, tile] = tiling.place(segments, task);
    append_head(shape, s, head, rows.k, rows.v);
  }

  kernels::AttentionForward call(std::int64_t task) const {
    const auto [s, head, tile] = tiling.place(segments, task);
    const std::int64_t token = tile * tiling.tokens_per_tile;
    const std::int64_t row = s.row_begin + token;
    const std::int64_t query_head = head * shared();
    kernels::AttentionForward a;
    switch (s.kv.type) {
      case KvType::kF32:
        a.kv = blocks_of<kernels::KvBlocks<float>>(s.kv, shape, head);
        break;
      case KvType::kF16:
        a.kv_half = blocks_of<kernels::KvBlocks<f16>>(s.kv, shape, head);
        break;
      case KvType::kQ8_0:
        a.kv_q8 = blocks_of<kernels::KvBlocksQ8>(s.kv, shape, head);
        break;
    }
    a.q = q.row(row) + query_head * shape.head_dim;
    a.q_stride = q.stride;
    a.out = out.row(row) + query_head * shape.head_dim;
    a.out_stride = out.stride;
    a.lse = lse_TH == nullptr ? nullptr : lse_TH + row * shape.n_heads + query_head;
    a.lse_stride = shape.n_heads;
    a.first_position = s.first_position + token;
    a.n_tokens = std::min(tiling.tokens_per_tile, s.row_count - token);
    a.n_heads = shared();
    a.head_dim = shape.head_dim;
    a.window = shape.window;
    if (shape.chunk > 0) a.first_key = a.first_position / shape.chunk * shape.chunk;
    a.scale = shape.scale;
    return a;
  }

  // At most so many queries and keys meet.
  std::int64_t pairs() const {
    std::int64_t sum = 0;
    for (const AttentionSegment& s : segments) {
      sum += s.row_count * (s.first_position + s.row_count);
    }
    return sum;
  }
};

// Hands out tasks 0 .. count-1 in order; body(task, scratch) with scratch of its thread.
template <class F>
void run_tasks(Context& context, std::int64_t count, std::int64_t scratch_floats, bool alone,
               const F& body) {
  if (count <= 0) return;
  const std::int64_t per_thread = (scratch_floats + 15) / 16 * 16;
  alone = alone || count == 1;
  const std::int64_t threads = alone ? 1 : context.pool.size();
  float* scratch = context.scratch<float>(Context::kAttention, per_thread * threads);
  if (alone) {
    for (std::int64_t task = 0; task < count; ++task) body(task, scratch);
    return;
  }
  std::atomic<std::int64_t> next{0};
  context.pool.run([&](int thread) {
    for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      body(task, scratch + thread * per_thread);
    }
  });
}

// Few tasks over long contexts: every span of positions is a task, and whoever ends the last one of
// a tile merges them. New rows are in the last span. False: they are too many, and nothing was
// done.
bool forward_in_spans(Context& context, const Forward& pass, std::int64_t n_tiles,
                      std::int64_t scratch_floats) {
  struct Part {
    std::int64_t tile, span;
    std::int64_t state;  // where it is, in floats
  };
  struct Tile {
    kernels::AttentionForward call;
    std::int64_t first_state, spans;
  };
  std::vector<Tile> tiles;
  std::vector<Part> parts;
  std::int64_t floats = 0;
  for (std::int64_t i = 0; i < n_tiles; ++i) {
    Tile tile{pass.call(i), floats, 0};
    const kernels::AttentionForward& a = tile.call;
    tile.spans = kernels::last_span(a) - kernels::first_span(a) + 1;
    for (std::int64_t span = kernels::first_span(a); span <= kernels::last_span(a); ++span) {
      parts.push_back({i, span, floats});
      floats += kernel().state_floats(a.n_tokens, a.n_heads, a.head_dim);
    }
    tiles.push_back(tile);
    if (floats > kMostStateFloats) return false;
  }
  float* const states = context.scratch<float>(Context::kAttentionStates, floats);
  std::vector<std::atomic<std::int64_t>> done(tiles.size());
  const auto count = static_cast<std::int64_t>(parts.size());
  run_tasks(context, count, scratch_floats, false, [&](std::int64_t task, float* scratch) {
    const Part& part = parts[static_cast<std::size_t>(task)];
    const auto place = static_cast<std::size_t>(part.tile);
    const Tile& tile = tiles[place];
    if (part.span == kernels::last_span(tile.call)) pass.append_rows(part.tile);
    kernel().forward_span(tile.call, part.span, states + part.state, scratch);
    if (done[place].fetch_add(1, std::memory_order_acq_rel) + 1 == tile.spans) {
      kernel().merge_spans(tile.call, states + tile.first_state, tile.spans);
    }
  });
  return true;
}

void check_appended(const AttentionShape& shape, std::span<const AttentionSegment> segments,
                    MatrixView<const float> k, MatrixView<const float> v) {
  check_shape(shape);
  check_segments(segments, k.rows);
  check_cols(k, shape.n_kv_heads, shape);
  check_cols(v, shape.n_kv_heads, shape);
  CONCLAVE_CHECK(k.rows == v.rows);
}

void append(Context& context, const AttentionShape& shape,
            std::span<const AttentionSegment> segments, const NewRows& rows) {
  const std::int64_t heads = shape.n_kv_heads;
  const std::int64_t tasks = static_cast<std::int64_t>(segments.size()) * heads;
  const auto append_task = [&](std::int64_t task) {
    const auto segment = static_cast<std::size_t>(task / heads);
    append_head(shape, segments[segment], task % heads, rows.k, rows.v);
  };
  if (rows.k.rows * rows.k.cols <= kAppendAlone) {
    for (std::int64_t task = 0; task < tasks; ++task) append_task(task);
  } else {
    context.pool.parallel_tasks(tasks, append_task);
  }
}

void forward(Context& context, const AttentionShape& shape,
             std::span<const AttentionSegment> segments, MatrixView<const float> q,
             const NewRows& rows, MatrixView<float> out, float* lse_TH) {
  check_shape(shape);
  check_segments(segments, q.rows);
  check_cols(q, shape.n_heads, shape);
  check_cols(out, shape.n_heads, shape);
  CONCLAVE_CHECK(q.rows == out.rows);
  std::vector<AttentionSegment> pieces;
  if (shape.chunk > 0) {
    pieces = cut_at_chunks(segments, shape.chunk);
    segments = pieces;
  }
  const Forward pass{shape, segments, q, rows, out, lse_TH, Tiling(segments, shape)};
  const std::int64_t scratch_floats =
      kernel().forward_scratch(pass.tiling.tokens_per_tile, pass.shared(), shape.head_dim);
  const bool alone =
      pass.pairs() * q.cols <= kAttendAlone && rows.k.rows * rows.k.cols <= kAppendAlone;
  const std::int64_t tasks = pass.tiling.first_task.back();
  const bool few = tasks < kTasksPerThread * context.pool.size();
  if (!alone && few && kernel().forward_span != nullptr &&
      forward_in_spans(context, pass, tasks, scratch_floats)) {
    return;
  }
  run_tasks(context, tasks, scratch_floats, alone, [&](std::int64_t task, float* scratch) {
    pass.append_rows(task);
    kernel().forward(pass.call(task), scratch);
  });
}

}  // namespace

void kv_append(Context& context, const AttentionShape& shape,
               std::span<const AttentionSegment> segments, MatrixView<const float> k,
               MatrixView<const float> v) {
  check_appended(shape, segments, k, v);
  append(context, shape, segments, {k, v});
}

void attention_forward(Context& context, const AttentionShape& shape,
                       std::span<const AttentionSegment> segments, MatrixView<const float> q,
                       MatrixView<float> out, float* lse_TH) {
  forward(context, shape, segments, q, {}, out, lse_TH);
}

void attention_append_forward(Context& context, const AttentionShape& shape,
                              std::span<const AttentionSegment> segments, MatrixView<const float> q,
                              MatrixView<const float> k, MatrixView<const float> v,
                              MatrixView<float> out, float* lse_TH) {
  check_appended(shape, segments, k, v);
  CONCLAVE_CHECK(k.rows == q.rows);
  NewRows rows{k, v};
  if (!one_task_reads_new_rows(segments, shape)) {
    append(context, shape, segments, rows);
    rows = {};
  }
  forward(context, shape, segments, q, rows, out, lse_TH);
}

void attention_backward(Context& context, const AttentionShape& shape,
                        std::span<const AttentionSegment> segments, MatrixView<const float> q,
                        MatrixView<const float> out, const float* lse_TH,
                        MatrixView<const float> d_out, MatrixView<float> dq, MatrixView<float> dk,
                        MatrixView<float> dv) {
  check_shape(shape);
  CONCLAVE_CHECK(shape.chunk == 0, "attention in chunks has no backward pass");
  check_segments(segments, q.rows);
  for (const auto& m : {q, out, d_out, MatrixView<const float>(dq)}) {
    check_cols(m, shape.n_heads, shape);
    CONCLAVE_CHECK(m.rows == q.rows);
  }
  for (const auto& m : {dk, dv}) {
    check_cols(m, shape.n_kv_heads, shape);
    CONCLAVE_CHECK(m.rows == q.rows);
  }
  std::int64_t longest = 0;
  for (const AttentionSegment& s : segments) {
    CONCLAVE_CHECK(s.first_position == 0, "backward of a sequence from position {}",
                   s.first_position);
    CONCLAVE_CHECK(s.kv.type == KvType::kF32, "backward over narrow keys");
    longest = std::max(longest, s.row_count);
  }
  const int shared = shape.n_heads / shape.n_kv_heads;
  const std::int64_t heads = shape.n_kv_heads;
  const BackwardKernel backward(shape);
  const auto body = [&](std::int64_t task, float* scratch) {
    const AttentionSegment& s = segments[static_cast<std::size_t>(task / heads)];
    const std::int64_t head = task % heads;
    const std::int64_t column = head * shared * shape.head_dim;
    kernels::AttentionBackward a;
    a.kv = blocks_of<kernels::KvBlocks<float>>(s.kv, shape, head);
    a.q = q.row(s.row_begin) + column;
    a.q_stride = q.stride;
    a.out = out.row(s.row_begin) + column;
    a.out_stride = out.stride;
    a.lse = lse_TH + s.row_begin * shape.n_heads + head * shared;
    a.lse_stride = shape.n_heads;
    a.d_out = d_out.row(s.row_begin) + column;
    a.d_out_stride = d_out.stride;
    a.dq = dq.row(s.row_begin) + column;
    a.dq_stride = dq.stride;
    a.dk = dk.row(s.row_begin) + head * shape.head_dim;
    a.dk_stride = dk.stride;
    a.dv = dv.row(s.row_begin) + head * shape.head_dim;
    a.dv_stride = dv.stride;
    a.n_tokens = s.row_count;
    a.n_heads = shared;
    a.head_dim = shape.head_dim;
    a.window = shape.window;
    a.scale = shape.scale;
    backward(a, scratch);
  };
  run_tasks(context, static_cast<std::int64_t>(segments.size()) * heads,
            backward.scratch(longest, shared, shape.head_dim), /*alone=*/false, body);
}

}  // namespace conclave::ops
