// Tokenizer from a tokenizer.json.
#include <memory>
#include <utility>

#include "base/error.h"
#include "sys/files.h"
#include "text/tokenizer.h"
#include "text/tokenizer_file.h"
#include "text/tokenizer_state.h"

namespace conclave::text {
namespace {

// The largest published file (a vocabulary of 262,144) has 33 MB.
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{256} << 20;

std::shared_ptr<detail::TokenizerState> build(TokenizerFile file) {
  const nlohmann::json null;
  const JsonView root(file.root, "");
  const auto part = [&](const char* key) {
    return root.has(key) ? JsonView(file.root.at(key), key) : JsonView(null, key);
  };
  if (root.has("version") && part("version").text() != "1.0") part("version").wrong("'1.0'");
  if (!part("model").is_object()) part("model").wrong("an object");

  auto state = std::make_shared<detail::TokenizerState>();
  state->model = make_model(part("model"), file);
  if (root.has("normalizer")) state->normalizer = make_normalizer(part("normalizer"));
  if (root.has("pre_tokenizer")) state->pre_tokenizer = make_pre_tokenizer(part("pre_tokenizer"));
  state->post_processor = make_post_processor(part("post_processor"));
  state->decoder = make_decoder(part("decoder"));
  if (root.has("added_tokens")) {
    state->added = AddedTokens(parse_added_tokens(part("added_tokens")), state->model->vocabulary(),
                               state->normalizer.get());
  }
  state->finish();
  return state;
}

}  // namespace

Tokenizer Tokenizer::from_json_text(std::string_view json, std::string_view name) {
  return with_context("tokenizer '" + std::string(name) + "'", [&] {
    try {
      return Tokenizer(build(parse_tokenizer_file(json)));
    } catch (const std::bad_alloc&) {
      fail(ErrorKind::kOutOfMemory, "no memory to load {} bytes of JSON", json.size());
    }
  });
}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  std::string file = path.string();
  if (sys::directory_exists(file)) file = sys::join_path(file, "tokenizer.json");
  return from_json_text(sys::read_file(file, kMaxFileBytes), file);
}

}  // namespace conclave::text
