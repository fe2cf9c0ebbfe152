// Configurations and files that do not fit together, or were made to hurt: typed errors that name
// what is wrong, for every architecture.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "models/architecture.h"
#include "models/common.h"
#include "models/model_files.h"

namespace conclave::models {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

fs::path golden(const std::string& name) {
  return fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models" / name;
}

// One golden of every architecture.
std::vector<std::string> models() {
  std::vector<std::string> names;
  for (const Architecture* architecture : registry()) {
    std::string name = architecture->model_type;
    if (name == "llama4_text")
      name = "llama4";
    else if (name == "llama4")
      name = "llama4_wrapped";
    if (fs::exists(golden(name))) names.push_back(name);
  }
  return names;
}

// The outcome of parsing and checking: a recipe, an Error, or (a failure) anything else.
enum class Outcome { kRecipe, kError };
Outcome try_parse(const json& config, const std::string& what) {
  try {
    const io::JsonView view(config, "config.json");
    const Architecture& architecture = find_architecture(view.string("model_type"));
    nn::TransformerConfig c = architecture.parse(view);
    nn::validate(c);
    return Outcome::kRecipe;
  } catch (const Error& error) {
    EXPECT_FALSE(error.message().empty());
    EXPECT_LT(error.message().size(), 2000u) << what;
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
  return Outcome::kError;
}

const std::vector<json>& hostile_values() {
  static const std::vector<json> kValues = {
      -1,
      0,
      1,
      3,
      65536,
      1 << 24,
      INT64_MAX,
      INT64_MIN,
      1e308,
      -1e308,
      1e-300,
      0.5,
      "text",
      "",
      true,
      false,
      nullptr,
      json::array(),
      json::array({-1}),
      json::array({1, 2, 3, 4, 5, 6, 7, 8, 9}),
      json::object(),
      json{{"rope_type", "yarn"}},
      json{{"rope_type", "nonsense"}},
      json{{"rope_type", "longrope"}, {"short_factor", {0}}, {"long_factor", {1}}}};
  return kValues;
}

class Hostile : public ::testing::TestWithParam<std::string> {
 protected:
  Hostile() : json_(io::read_json_file((golden(GetParam()) / "config.json").string())) {}
  json json_;
};

// Replaces every value, of nested objects too, by every hostile one, and removes every key.
void attack(const json& whole, const json::json_pointer& at, const std::string& name) {
  const json& object = whole.at(at);
  for (auto item = object.begin(); item != object.end(); ++item) {
    if (item.key() == "model_type" && at.empty()) continue;
    for (const json& value : hostile_values()) {
      json changed = whole;
      changed[at / item.key()] = value;
      try_parse(changed, name + ": " + (at / item.key()).to_string() + " = " + value.dump());
    }
    json without = whole;
    without[at].erase(item.key());
    try_parse(without, name + " without " + item.key());
    if (item->is_object()) attack(whole, at / item.key(), name);
  }
}

TEST_P(Hostile, AnyValueOfAnyKeyIsARecipeOrAnError) {
  ASSERT_EQ(try_parse(json_, GetParam()), Outcome::kRecipe);
  attack(json_, json::json_pointer(), GetParam());
}

TEST_P(Hostile, KeysThatNobodyKnowsAreRefused) {
  json_["a_new_kind_of_attention"] = true;
  EXPECT_EQ(try_parse(json_, GetParam()), Outcome::kError);
}

TEST_P(Hostile, OtherActivationsAndScalingsAreRefused) {
  for (json* place : {&json_, json_.contains("text_config") ? &json_["text_config"] : &json_}) {
    if (!place->contains("hidden_act")) continue;  // DBRX has an object for it, see below
    json changed = json_;
    json& target = place == &json_ ? changed : changed["text_config"];
    target["hidden_act"] = "gelu";
    EXPECT_EQ(try_parse(changed, GetParam()), Outcome::kError);
    target = *place;
    target.erase("rope_parameters");
    target["rope_scaling"] = {{"rope_type", "a new one"}, {"factor", 2.0}};
    EXPECT_EQ(try_parse(changed, GetParam()), Outcome::kError);
  }
}

// The recipe changed under the files: shapes, missing weights, tensors left over.
void expect_mismatch(const std::string& name,
                     const std::function<void(nn::TransformerConfig&)>& change,
                     std::set<ErrorKind> kinds) {
  nn::TransformerConfig config = read_config(golden(name).string());
  change(config);
  try {
    const FileWeights weights(golden(name).string(), config);
    weights.check(nn::Transformer(config).specs());
    ADD_FAILURE() << name << ": accepted";
  } catch (const Error& error) {
    EXPECT_TRUE(kinds.contains(error.kind())) << error.message();
    EXPECT_NE(error.message().find(name), std::string::npos) << error.message();
  }
}

TEST_P(Hostile, FilesThatDoNotFitTheConfigAreRefused) {
  const std::string name = GetParam();
  using Config = nn::TransformerConfig;
  expect_mismatch(name, [](Config& c) { ++c.vocab_size; }, {ErrorKind::kBadFile});
  expect_mismatch(name, [](Config& c) { c.n_heads *= 2, c.n_kv_heads *= 2; },
                  {ErrorKind::kBadFile});
  expect_mismatch(name, [](Config& c) { ++c.ffn_L.back().d_expert; }, {ErrorKind::kBadFile});
  expect_mismatch(name,
                  [](Config& c) {
                    ++c.n_layers;
                    c.ffn_L.push_back(c.ffn_L.back());
                    if (!c.attention_L.empty()) c.attention_L.push_back(c.attention_L.back());
                  },
                  {ErrorKind::kNotFound, ErrorKind::kBadFile});
  expect_mismatch(name,
                  [](Config& c) {
                    for (moe::LayerConfig& ffn : c.ffn_L) {
                      if (!ffn.dense())
                        ++ffn.router.n_experts, ffn.router.n_groups = ffn.router.topk_groups = 1;
                    }
                    ++c.vocab_size;  // dense models have no experts to add
                  },
                  {ErrorKind::kNotFound, ErrorKind::kBadFile});
  expect_mismatch(name,
                  [](Config& c) {
                    c.attention.sinks = !c.attention.sinks;
                    c.head_bias = !c.head_bias;
                  },
                  {ErrorKind::kNotFound, ErrorKind::kBadFile});
}

// A recipe of billions of weights beside files of kilobytes: refused before any list is made.
TEST_P(Hostile, HugeConfigsAreRefusedBeforeTheyTakeMemory) {
  nn::TransformerConfig config = read_config(golden(GetParam()).string());
  config.ffn_L.resize(4096, config.ffn_L.back());
  config.n_layers = 4096;
  for (moe::LayerConfig& ffn : config.ffn_L) {
    if (!ffn.dense()) ffn.router.n_experts = 65536;
  }
  if (!config.attention_L.empty()) config.attention_L.resize(4096);
  try {
    const FileWeights weights(golden(GetParam()).string(), config);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
    EXPECT_NE(error.message().find("parameters"), std::string::npos) << error.message();
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Hostile, ::testing::ValuesIn(models()),
                         [](const auto& test) { return test.param; });

// What the reference implementation does whatever the file says must not be said otherwise.
TEST(FixedKeys, OtherValuesAreRefused) {
  struct Row {
    const char* model;
    const char* key;
    json value;
  };
  const Row table[] = {{"gpt_oss", "swiglu_limit", 6.0},
                       {"gpt_oss", "attention_bias", false},
                       {"gpt_oss", "quantization_config", {{"quant_method", "gptq"}}},
                       {"deepseek_v3", "scoring_func", "softmax"},
                       {"deepseek_v3", "topk_method", "greedy"},
                       {"deepseek_v3", "moe_layer_freq", 2},
                       {"deepseek_v3", "num_experts_per_tok", 17},
                       {"deepseek_v3_fp8",
                        "quantization_config",
                        {{"quant_method", "fp8"}, {"weight_block_size", {64, 64}}}},
                       {"deepseek_v2", "topk_method", "noaux_tc"},
                       {"deepseek_v2", "mlp_bias", true},
                       {"deepseek_v2_groups", "num_experts_per_tok", 5},
                       {"phimoe", "num_experts_per_tok", 3},
                       {"dbrx", "tie_word_embeddings", true},
                       {"llama4", "rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}},
                       {"llama4", "layer_types", {"a", "b", "c", "d"}},
                       {"llama4", "no_rope_layers", {1}},
                       {"hunyuan_v1_moe", "num_experts", 1},
                       {"hunyuan_v1_moe", "num_experts", {6}},
                       {"hunyuan_v1_moe", "moe_intermediate_size", {10, 11}},
                       {"hunyuan_v1_moe", "use_mla", true},
                       {"granitemoe", "position_embedding_type", "alibi"},
                       {"qwen3_moe", "num_experts_per_tok", 9},
                       {"ernie4_5_moe", "moe_gate", "hash"}};
  for (const Row& row : table) {
    json config = io::read_json_file((golden(row.model) / "config.json").string());
    ASSERT_EQ(try_parse(config, row.model), Outcome::kRecipe) << row.model;
    config[row.key] = row.value;
    EXPECT_EQ(try_parse(config, row.model), Outcome::kError) << row.model << " " << row.key;
  }
}

// Whatever a recipe can train, a file can hold: what no published architecture says is written as
// the research type.
TEST(Registry, EveryRouterCanBeWritten) {
  for (const char* kind : {"softmax_topk", "switch_top1", "noisy_topk", "sigmoid_bias", "hash"}) {
    nn::TransformerConfig config = read_config(golden("mixtral").string());
    for (moe::LayerConfig& ffn : config.ffn_L) {
      const int experts = ffn.router.n_experts;
      ffn.router = moe::default_router_config(kind);
      ffn.router.n_experts = experts;
      ffn.router.k = std::string(kind) == "switch_top1" ? 1 : 2;
      ffn.expert_bias = std::string(kind) == "sigmoid_bias";
    }
    EXPECT_NO_THROW(architecture_for(config)) << kind;
  }
}

}  // namespace
}  // namespace conclave::models
