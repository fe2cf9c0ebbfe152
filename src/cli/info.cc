// conclave info: what a model is, before loading it.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/verbs.h"
#include "models/architecture.h"
#include "models/model_files.h"
#include "nn/kv_cache.h"
#include "sys/memory.h"
#include "sys/roofline.h"
#include "sys/thread_pool.h"

namespace conclave::cli {
namespace {

using nlohmann::json;

json layer_json(const moe::LayerConfig& ffn) {
  json layer = {{"experts", ffn.n_experts()},
                {"experts_per_token", ffn.router.k},
                {"expert_width", ffn.d_expert},
                {"shared_width", ffn.d_shared}};
  if (!ffn.dense()) layer["router"] = moe::describe_router(ffn.router);
  return layer;
}

struct Options {
  std::string model;
  std::int64_t context = 0;  // 0: the model's, up to 4096
  bool measure = true, json = false;
  MachineOptions machine;
};

// What a token reads of the weights: all but the experts that it does not choose and the rows of
// the embedding that it does not look up, at the mean size of a stored parameter.
double active_bytes(const nn::ParameterCounts& counts, std::uint64_t stored) {
  return static_cast<double>(stored) * static_cast<double>(counts.active_matmul) /
         static_cast<double>(std::max<std::int64_t>(1, counts.total));
}

// Memory for weights and cache against what is free, and the speed that memory allows: a token
// reads its weights and the cache once.
json machine_json(const Options& o, const nn::ParameterCounts& counts, std::uint64_t stored,
                  std::int64_t cache) {
  const auto available = static_cast<std::int64_t>(sys::available_memory());
  const auto needed = static_cast<std::int64_t>(stored) + cache;
  json machine = {{"memory_needed", needed},
                  {"memory_available", available},
                  {"fits", available == 0 || needed <= available}};
  if (!o.measure) return machine;
  ops::Context context = o.machine.context();
  const double bandwidth = sys::measure_roofline(context.pool, 0.1).read_gbps;
  const double read = active_bytes(counts, stored);
  machine["read_gigabytes_per_second"] = bandwidth;
  machine["bytes_per_token"] = read;
  machine["tokens_per_second_at_most"] = bandwidth * 1e9 / read;
  machine["tokens_per_second_at_most_at_full_context"] =
      bandwidth * 1e9 / (read + static_cast<double>(cache));
  return machine;
}

json describe(const Options& o) {
  const nn::TransformerConfig c = models::read_config(o.model);
  if (o.context > c.max_positions) {
    fail(ErrorKind::kInvalidArgument,
         "--context {}: the model's context is {} tokens; ask for at most that", o.context,
         c.max_positions);
  }
  const models::FileWeights weights(o.model, c);
  weights.check(nn::Transformer(c).specs());
  const nn::ParameterCounts counts = nn::count_parameters(c);
  const std::int64_t context =
      o.context > 0 ? o.context : std::min(c.max_positions, std::int64_t{4096});
  const auto cache_bytes = [&](std::int64_t tokens) {
    return nn::KvCache::bytes(c.n_layers, c.cache_heads(), c.cache_dim(), tokens,
                              nn::cache_type(models::natural_compute(weights.stored_type())));
  };
  json layers = json::array();
  for (const moe::LayerConfig& ffn : c.ffn_L) layers.push_back(layer_json(ffn));
  return {{"architecture", c.architecture},
          {"description", models::find_architecture(c.architecture).description},
          {"params_total", counts.total},
          {"params_active", counts.active},
          {"stored_type", weights.stored_type()},
          {"stored_types", weights.rows().stored_types()},
          {"stored_bytes", weights.stored_bytes()},
          {"vocab_size", c.vocab_size},
          {"width", c.d_model},
          {"layers", c.n_layers},
          {"heads", c.n_heads},
          {"kv_heads", c.n_kv_heads},
          {"head_dim", c.head_dim},
          {"context", c.max_positions},
          {"kv_cache_bytes_at_context", cache_bytes(c.max_positions)},
          {"kv_cache_context", context},
          {"kv_cache_bytes", cache_bytes(context)},
          {"machine", machine_json(o, counts, weights.stored_bytes(), cache_bytes(context))},
          {"per_layer", layers}};
}

void print_machine(const json& j) {
  const json& m = j.at("machine");
  const auto gb = [&](const char* key) { return m.at(key).get<double>() / 1e9; };
  std::printf("  this machine    %.2f GB needed at %lld tokens, %.2f GB free: %s\n",
              gb("memory_needed"),
              static_cast<long long>(j.at("kv_cache_context").get<std::int64_t>()),
              gb("memory_available"), m.at("fits").get<bool>() ? "fits" : "does not fit");
  if (!m.contains("bytes_per_token")) return;
  std::printf(
      "  speed           at most %.1f tokens a second, %.1f with that context (%.2f GB a token, "
      "%.1f GB/s measured)\n",
      m.at("tokens_per_second_at_most").get<double>(),
      m.at("tokens_per_second_at_most_at_full_context").get<double>(), gb("bytes_per_token"),
      m.at("read_gigabytes_per_second").get<double>());
}

void print(const json& j) {
  const auto n = [&](const char* key) { return j.at(key).get<std::int64_t>(); };
  const auto mb = [&](const char* key) { return static_cast<double>(n(key)) / 1e6; };
  std::printf("%s\n", j.at("description").get<std::string>().c_str());
  std::printf("  parameters      %.2f M, %.2f M active a token\n", mb("params_total"),
              mb("params_active"));
  std::printf(
      "  weights         %.1f MB as %s\n", mb("stored_bytes"),
      fmt::format("{}", fmt::join(j.at("stored_types").get<std::vector<std::string>>(), ", "))
          .c_str());
  std::printf("  KV cache        %.1f MB at %lld tokens, %.1f MB at the full context of %lld\n",
              mb("kv_cache_bytes"), static_cast<long long>(n("kv_cache_context")),
              mb("kv_cache_bytes_at_context"), static_cast<long long>(n("context")));
  print_machine(j);
  std::printf(
      "  width           %lld, %lld layers, %lld heads (%lld for keys and values) of %lld\n",
      static_cast<long long>(n("width")), static_cast<long long>(n("layers")),
      static_cast<long long>(n("heads")), static_cast<long long>(n("kv_heads")),
      static_cast<long long>(n("head_dim")));
  std::printf("  vocabulary      %lld\n", static_cast<long long>(n("vocab_size")));
  json previous;
  std::size_t first = 0;
  const json& layers = j.at("per_layer");
  for (std::size_t i = 0; i <= layers.size(); ++i) {  // equal neighbours in one line
    if (i < layers.size() && (i == 0 || layers[i] == layers[first])) continue;
    const json& l = layers[first];
    const std::string range = i - first == 1 ? std::to_string(first)
                                             : std::to_string(first) + "-" + std::to_string(i - 1);
    std::printf("  layer %-9s %lld expert%s of width %lld", range.c_str(),
                static_cast<long long>(l.at("experts").get<std::int64_t>()),
                l.at("experts") == 1 ? "" : "s",
                static_cast<long long>(l.at("expert_width").get<std::int64_t>()));
    if (l.at("shared_width").get<int>() > 0)
      std::printf(", shared %d", l.at("shared_width").get<int>());
    if (l.contains("router")) std::printf("; %s", l.at("router").get<std::string>().c_str());
    std::printf("\n");
    first = i;
  }
}

}  // namespace

void add_info(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("info", "describe a model without loading it");
  command->add_option("MODEL", o->model, "model directory or GGUF file")->required();
  command->add_option("--context", o->context, "tokens of the KV cache (default: up to 4096)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24));
  command->add_flag("!--no-measure", o->measure, "do not measure this machine's memory bandwidth");
  command->add_flag("--json", o->json, "print JSON");
  o->machine.add_to(*command, /*with_dtype=*/false);
  command->footer(
      "Example:\n  conclave info my-model --context 8192\n  conclave info model.gguf --json");
  command->callback([o] {
    const json j = describe(*o);
    if (o->json) {
      std::printf("%s\n", j.dump(2).c_str());
    } else {
      print(j);
    }
  });
}

}  // namespace conclave::cli
