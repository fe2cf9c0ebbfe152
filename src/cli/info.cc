// conclave info: what a model is, before loading it.

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/verbs.h"
#include "models/architecture.h"
#include "models/model_files.h"
#include "nn/kv_cache.h"

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

json describe(const std::string& directory) {
  const nn::TransformerConfig c = models::read_config(directory);
  const models::FileWeights weights(directory, c);
  weights.check(nn::Transformer(c).specs());
  const nn::ParameterCounts counts = nn::count_parameters(c);
  json layers = json::array();
  for (const moe::LayerConfig& ffn : c.ffn_L) layers.push_back(layer_json(ffn));
  return {{"architecture", c.architecture},
          {"description", models::find_architecture(c.architecture).description},
          {"params_total", counts.total},
          {"params_active", counts.active},
          {"stored_type", weights.stored_type()},
          {"stored_bytes", weights.stored_bytes()},
          {"vocab_size", c.vocab_size},
          {"width", c.d_model},
          {"layers", c.n_layers},
          {"heads", c.n_heads},
          {"kv_heads", c.n_kv_heads},
          {"head_dim", c.head_dim},
          {"context", c.max_positions},
          {"kv_cache_bytes_at_context",
           nn::KvCache::bytes(c.n_layers, c.cache_heads(), c.cache_dim(), c.max_positions)},
          {"per_layer", layers}};
}

void print(const json& j) {
  const auto n = [&](const char* key) { return j.at(key).get<std::int64_t>(); };
  const auto mb = [&](const char* key) { return static_cast<double>(n(key)) / 1e6; };
  std::printf("%s\n", j.at("description").get<std::string>().c_str());
  std::printf("  parameters      %.2f M, %.2f M active a token\n", mb("params_total"),
              mb("params_active"));
  std::printf("  weights         %.1f MB as %s\n", mb("stored_bytes"),
              j.at("stored_type").get<std::string>().c_str());
  std::printf("  KV cache        %.1f MB at the full context of %lld tokens\n",
              mb("kv_cache_bytes_at_context"), static_cast<long long>(n("context")));
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
  auto model = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("info", "describe a model without loading it");
  command->add_option("MODEL", *model, "model directory or GGUF file")->required();
  command->add_flag("--json", *as_json, "print JSON");
  command->footer("Example:\n  conclave info my-model --json");
  command->callback([model, as_json] {
    const json j = describe(*model);
    if (*as_json) {
      std::printf("%s\n", j.dump(2).c_str());
    } else {
      print(j);
    }
  });
}

}  // namespace conclave::cli
