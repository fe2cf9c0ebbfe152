#include "infer/bench.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "base/rng.h"
#include "sys/interrupt.h"
#include "sys/memory.h"

namespace conclave::infer {
namespace {

using Caches = std::vector<std::unique_ptr<nn::KvCache>>;

double seconds_of(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class Bench {
 public:
  Bench(ops::Context& context, nn::Transformer& transformer, const BenchPlan& plan)
      : context_(context),
        transformer_(transformer),
        plan_(plan),
        tokens_LE_(static_cast<std::size_t>(transformer.config().n_layers)) {}

  BenchRow prompt(std::int64_t tokens) {
    BenchRow row;
    row.prompt = true;
    row.tokens = tokens;
    const auto cache = transformer_.new_cache(tokens);
    read(*cache, std::min(tokens, plan_.chunk));  // takes the memory of the activations
    measure(row, [&] { read(*cache, tokens); });
    return row;
  }

  BenchRow generation(std::int64_t depth, std::int64_t batch) {
    BenchRow row;
    row.tokens = plan_.generate;
    row.depth = depth;
    row.batch = batch;
    check_memory(depth, batch);
    Caches caches;
    for (std::int64_t i = 0; i < batch; ++i) {
      caches.push_back(transformer_.new_cache(depth + plan_.generate));
    }
    read(*caches.front(), depth);
    for (std::int64_t i = 1; i < batch; ++i) {
      caches[static_cast<std::size_t>(i)]->copy_from(*caches.front());
    }
    write(caches, depth, std::min<std::int64_t>(plan_.generate, 2));
    measure(row, [&] { write(caches, depth, plan_.generate); });
    return row;
  }

  // Caches take their memory while they fill: without this, minutes pass before they cannot.
  void check_memory(std::int64_t depth, std::int64_t batch) const {
    const double needed = static_cast<double>(batch) *
                          static_cast<double>(transformer_.cache_bytes(depth + plan_.generate));
    const auto available = static_cast<double>(sys::available_memory());
    if (available == 0 || needed <= available) return;  // 0: not known
    fail(ErrorKind::kOutOfMemory,
         "keys and values of {} sequences of {} tokens take {:.1f} GB, and {:.1f} are free", batch,
         depth + plan_.generate, needed / 1e9, available / 1e9);
  }

 private:
  void measure(BenchRow& row, const std::function<void()>& body) {
    for (int i = 0; i < plan_.repetitions; ++i) {
      bytes_ = operations_ = 0;
      for (std::vector<double>& layer : tokens_LE_) layer.clear();
      context_.parts.start();
      row.seconds.push_back(seconds_of(body));
      const ops::PartClock::Seconds parts = context_.parts.stop();
      for (std::size_t p = 0; p < parts.size(); ++p) row.parts[p] += parts[p];
    }
    row.bytes = bytes_;  // the last repetition's: tokens are random, the others differ by little
    row.operations = operations_;
    row.busiest = busiest();
    std::sort(row.seconds.begin(), row.seconds.end());
  }

  void draw(std::int64_t n) {
    ids_.resize(static_cast<std::size_t>(n));
    const auto V = static_cast<std::uint64_t>(transformer_.config().vocab_size);
    for (std::int32_t& id : ids_) id = static_cast<std::int32_t>(rng_.below(drawn_++, V));
  }

  void read(nn::KvCache& cache, std::int64_t tokens) {
    for (std::int64_t at = 0; at < tokens; at += plan_.chunk) {
      draw(std::min(plan_.chunk, tokens - at));
      nn::Batch batch;
      batch.ids_T = ids_;
      batch.chunks.push_back({&cache, 0, batch.n_tokens(), at});
      pass(batch);
    }
    if (tokens > 0) head(1);
  }

  void write(const Caches& caches, std::int64_t depth, std::int64_t tokens) {
    const auto B = static_cast<std::int64_t>(caches.size());
    for (std::int64_t at = depth; at < depth + tokens; ++at) {
      draw(B);
      nn::Batch batch;
      batch.ids_T = ids_;
      for (std::int64_t i = 0; i < B; ++i) {
        batch.chunks.push_back({caches[static_cast<std::size_t>(i)].get(), i, 1, at});
      }
      pass(batch);
      head(B);
    }
  }

  void pass(const nn::Batch& batch) {
    sys::stop_if_interrupted("measuring");
    const auto rows = static_cast<double>(batch.n_tokens());
    nn::ForwardOptions options;
    options.observer = [&](int layer, const moe::RoutingDecision&, const moe::DispatchPlan& plan) {
      std::vector<double>& tokens_E = tokens_LE_[static_cast<std::size_t>(layer)];
      tokens_E.resize(plan.tokens_per_expert_E.size());
      for (std::size_t e = 0; e < plan.tokens_per_expert_E.size(); ++e) {
        tokens_E[e] += plan.tokens_per_expert_E[e];
        if (plan.tokens_per_expert_E[e] > 0) {
          count_expert(layer, static_cast<int>(e), plan.tokens_per_expert_E[e]);
        }
      }
    };
    // A pass of a long chunk takes half a minute.
    options.layer_observer = [](auto&&...) { sys::stop_if_interrupted("measuring"); };
    transformer_.forward(context_, batch, options, activations_);
    const nn::TransformerConfig& config = transformer_.config();
    for (int layer = 0; layer < config.n_layers; ++layer) {
      if (config.ffn_L[static_cast<std::size_t>(layer)].dense()) count_expert(layer, 0, rows);
    }
    const nn::PassWeights always = transformer_.pass_weights();
    bytes_ += static_cast<double>(always.bytes);
    operations_ += 2 * rows * static_cast<double>(always.count);
    for (const nn::SequenceChunk& chunk : batch.chunks) {
      const std::int64_t seen = chunk.first_position + chunk.row_count;
      bytes_ += static_cast<double>(transformer_.cache_bytes(seen));
    }
  }

  void count_expert(int layer, int expert, double rows) {
    const moe::ExpertWeights& weights = transformer_.store().at(layer, expert);
    for (const ops::Linear* linear : {&weights.gate_up, &weights.down}) {
      const ops::PackedMatrix& packed = linear->forward;
      bytes_ += static_cast<double>(packed.bytes());
      operations_ += 2 * rows * static_cast<double>(packed.n() * packed.k());
    }
  }

  double busiest() const {
    double sum = 0, layers = 0;
    for (const std::vector<double>& tokens_E : tokens_LE_) {
      if (tokens_E.size() < 2) continue;
      const double all = std::accumulate(tokens_E.begin(), tokens_E.end(), 0.0);
      if (all == 0) continue;
      const double most = *std::max_element(tokens_E.begin(), tokens_E.end());
      sum += most * static_cast<double>(tokens_E.size()) / all;
      ++layers;
    }
    return layers > 0 ? sum / layers : 0;
  }

  // Logits of the last `rows` rows of the pass.
  void head(std::int64_t rows) {
    const MatrixView<float> hidden = activations_.out.view();
    transformer_.logits(context_, hidden.rows_range(hidden.rows - rows, rows),
                        logits_.resize(rows, transformer_.config().vocab_size));
    const ops::PackedMatrix& packed = transformer_.head().forward;
    bytes_ += static_cast<double>(packed.bytes());
    operations_ += 2.0 * static_cast<double>(rows * packed.n() * packed.k());
  }

  ops::Context& context_;
  nn::Transformer& transformer_;
  const BenchPlan& plan_;
  nn::Activations activations_;
  FloatMatrix logits_;
  std::vector<std::int32_t> ids_;
  const Rng rng_{1};
  std::uint64_t drawn_ = 0;
  double bytes_ = 0, operations_ = 0;
  std::vector<std::vector<double>> tokens_LE_;  // of a repetition; of dense layers empty
};

void check_range(const char* what, std::int64_t found, std::int64_t least, std::int64_t most,
                 const std::string& note = {}) {
  if (found >= least && found <= most) return;
  fail(ErrorKind::kInvalidArgument, "{} {}: expected {} to {}{}", what, found, least, most, note);
}

}  // namespace

void check_plan(const BenchPlan& plan, const nn::TransformerConfig& config) {
  const std::int64_t most = config.max_positions;
  const std::string context = fmt::format(", the model's context of {} tokens", most);
  check_range("--repeat", plan.repetitions, 1, BenchPlan::kMostRepetitions);
  check_range("--chunk", plan.chunk, 1, BenchPlan::kMostChunk);
  check_range("--generate", plan.generate, 0, most, context);
  for (const std::int64_t n : plan.prompts) check_range("--prompt", n, 1, most, context);
  for (const std::int64_t n : plan.batches) check_range("--batch", n, 1, BenchPlan::kMostBatch);
  for (const std::int64_t n : plan.depths) {
    check_range("--depth", n, 0, most - plan.generate,
                fmt::format("{} less --generate {}", context, plan.generate));
  }
}

double BenchRow::median() const {
  const std::size_t n = seconds.size();
  return n % 2 == 1 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
}

Peak peak_of(const sys::Roofline& limits, nn::Transformer& transformer) {
  const ops::PackedMatrix& packed = transformer.store().at(0, 0).gate_up.forward;
  if (!packed.quant_parts().empty()) {
    if (limits.int8_gops > 0) return {"int8", limits.int8_gops};
  } else if (packed.compute() == DType::kBF16 && limits.bf16_gflops > 0) {
    return {"bf16", limits.bf16_gflops};
  }
  return {"f32", limits.f32_gflops};
}

void run_bench(ops::Context& context, nn::Transformer& transformer, const BenchPlan& plan,
               const std::function<void(const BenchRow&)>& report) {
  check_plan(plan, transformer.config());
  Bench bench(context, transformer, plan);
  if (plan.generate > 0) {  // now, and again when a row is reached
    for (const std::int64_t depth : plan.depths) {
      for (const std::int64_t batch : plan.batches) bench.check_memory(depth, batch);
    }
  }
  for (const std::int64_t tokens : plan.prompts) report(bench.prompt(tokens));
  if (plan.generate == 0) return;
  for (const std::int64_t depth : plan.depths) {
    for (const std::int64_t batch : plan.batches) report(bench.generation(depth, batch));
  }
}

}  // namespace conclave::infer
