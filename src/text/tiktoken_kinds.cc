#include "text/tiktoken_kinds.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/word_patterns.h"

namespace conclave::text {
namespace {

// cl100k as tiktoken has had it since version 0.7: white space at the end of a text is one word,
// also where it holds line breaks. (Numbers and letters need no possessive quantifiers here.)
constexpr std::string_view kCl100k =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s)";

std::string_view words_of(std::string_view pre) { return word_patterns(pre)->patterns.front(); }

std::vector<TiktokenKind> make_kinds() {
  const std::string_view digits3 = words_of("dbrx");
  const std::string_view digits1 = words_of("qwen2");
  const std::string_view cased3 = words_of("gpt-4o");
  return {
      {"cl100k",
       {"cl100k_base"},
       {"dbrx"},
       100256,
       kCl100k,
       false,
       {{"<|endoftext|>", 100257},
        {"<|fim_prefix|>", 100258},
        {"<|fim_middle|>", 100259},
        {"<|fim_suffix|>", 100260},
        {"<|endofprompt|>", 100276}}},
      {"o200k",
       {"o200k_base"},
       {},
       199998,
       cased3,
       false,
       {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}},
      {"o200k_harmony",
       {"o200k_harmony"},
       {"gpt_oss"},
       0,
       cased3,
       false,
       {{"<|startoftext|>", 199998},
        {"<|endoftext|>", 199999},
        {"<|return|>", 200002},
        {"<|constrain|>", 200003},
        {"<|channel|>", 200005},
        {"<|start|>", 200006},
        {"<|end|>", 200007},
        {"<|message|>", 200008},
        {"<|call|>", 200012}}},
      {"kimi-k2", {}, {"TikTokenTokenizer", "kimi_k2"}, 163584, words_of("kimi-k2"), false, {}},
      {"qwen",
       {"qwen"},
       {"QWenTokenizer", "qwen"},
       151643,
       digits1,
       true,
       {{"<|endoftext|>", 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}}},
      {"hunyuan", {"hy"}, {"HYTokenizer", "hunyuan", "hunyuan_v1_moe"}, 0, digits1, true, {}},
      {"glm4", {}, {"ChatGLM4Tokenizer", "chatglm"}, 151329, digits3, false, {}},
      {"llama3",
       {},
       {},
       128000,
       digits3,
       false,
       {{"<|begin_of_text|>", 128000},
        {"<|end_of_text|>", 128001},
        {"<|start_header_id|>", 128006},
        {"<|end_header_id|>", 128007},
        {"<|eot_id|>", 128009}}},
      {"llama4", {}, {"llama4"}, 200000, cased3, false, {}},
      {"gpt2",
       {"r50k_base", "gpt2"},
       {},
       50256,
       words_of("gpt-2"),
       false,
       {{"<|endoftext|>", 50256}}},
      {"p50k", {"p50k_base"}, {}, 50280, words_of("gpt-2"), false, {{"<|endoftext|>", 50256}}},
  };
}

template <class Fits>
const TiktokenKind* first(const Fits& fits) {
  for (const TiktokenKind& kind : tiktoken_kinds()) {
    if (fits(kind)) return &kind;
  }
  return nullptr;
}

bool contains(const std::vector<std::string_view>& list, std::string_view what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

}  // namespace

const std::vector<TiktokenKind>& tiktoken_kinds() {
  static const std::vector<TiktokenKind> kKinds = make_kinds();
  return kKinds;
}

const TiktokenKind* tiktoken_kind(std::string_view name) {
  return first([&](const TiktokenKind& kind) { return kind.name == name; });
}

const TiktokenKind* tiktoken_kind_by_stem(std::string_view stem) {
  return first([&](const TiktokenKind& kind) { return contains(kind.stems, stem); });
}

const TiktokenKind* tiktoken_kind_by_hint(std::string_view hint) {
  return first([&](const TiktokenKind& kind) { return contains(kind.hints, hint); });
}

const TiktokenKind* tiktoken_kind_by_ranks(std::int64_t ranks) {
  return first([&](const TiktokenKind& kind) { return kind.ranks == ranks && ranks > 0; });
}

std::vector<std::pair<std::string, std::int32_t>> reserved_tokens(const TiktokenKind& kind,
                                                                  std::int64_t ranks) {
  const auto n = static_cast<std::int32_t>(ranks);
  std::vector<std::pair<std::string, std::int32_t>> tokens;
  if (kind.name == "kimi-k2") {
    for (std::int32_t i = n; i < n + 258; ++i) {
      tokens.emplace_back(fmt::format("<|reserved_token_{}|>", i), i);
    }
  } else if (kind.name == "o200k_harmony") {
    for (std::int32_t i = 200000; i < 201088 && n == 199998; ++i) {
      tokens.emplace_back(i == 200018 ? "<|endofprompt|>" : fmt::format("<|reserved_{}|>", i), i);
    }
  }
  return tokens;
}

}  // namespace conclave::text
