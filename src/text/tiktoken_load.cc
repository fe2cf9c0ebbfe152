// Tokenizer from a tiktoken file: lines of a token in base64 and its rank, which is its id. A word
// that is a token is that token; else neighbours join wherever together they are one, lowest rank
// first.
#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "base/error.h"
#include "sys/files.h"
#include "text/base64.h"
#include "text/bpe_model.h"
#include "text/byte_alphabet.h"
#include "text/display.h"
#include "text/model_folder.h"
#include "text/symbol_merges.h"
#include "text/tiktoken_kinds.h"
#include "text/tokenizer.h"
#include "text/tokenizer_build.h"

namespace conclave::text {
namespace {

// Ids that published vocabularies keep for special tokens: 1090 at most.
constexpr std::int64_t kMostSpecial = 4096;

struct RankedToken {
  std::string bytes;
  std::int64_t rank = 0;
};

RankedToken parse_line(std::string_view line, std::size_t number) {
  const auto wrong = [&] {
    fail(ErrorKind::kBadFile,
         "line {}: found '{}', expected a token in base64, a space and its rank", number,
         display_text(line));
  };
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0) wrong();
  RankedToken token;
  const std::string_view digits = line.substr(space + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), token.rank);
  if (error != std::errc() || end != digits.data() + digits.size() || token.rank < 0) wrong();
  token.bytes = with_context("line " + std::to_string(number),
                             [&] { return decode_base64(line.substr(0, space)); });
  if (token.bytes.empty()) wrong();
  return token;
}

std::vector<RankedToken> parse_tiktoken(std::string_view text) {
  std::vector<RankedToken> tokens;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t size = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, size);
    text.remove_prefix(std::min(size + 1, text.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) tokens.push_back(parse_line(line, number));
  }
  if (tokens.empty()) fail(ErrorKind::kBadFile, "no tokens");
  return tokens;
}

std::unique_ptr<Model> make_rank_model(const std::vector<RankedToken>& tokens) {
  Vocabulary vocabulary;
  vocabulary.reserve(tokens.size());
  std::vector<JoinedToken> joined;
  joined.reserve(tokens.size());
  std::string spelling;
  for (const RankedToken& token : tokens) {
    spelling.clear();
    append_alphabet(spelling, token.bytes);
    vocabulary.add(spelling, token.rank);
    const auto id = static_cast<std::int32_t>(token.rank);
    joined.push_back({token.bytes, id, static_cast<std::uint32_t>(id)});
  }
  vocabulary.finish();
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (!vocabulary.find(byte_to_alphabet(static_cast<std::uint8_t>(byte)))) {
      fail(ErrorKind::kBadFile, "byte 0x{:02X} is no token; all 256 bytes must be", byte);
    }
  }
  BpeConfig config;
  config.ignore_merges = true;
  return std::make_unique<BpeModel>(std::move(config), std::move(vocabulary),
                                    make_symbol_merges(joined, SymbolKind::kBytes));
}

// The kind that the options name, or that the file and its neighbours tell.
const TiktokenKind* find_kind(const std::string& path, const TiktokenOptions& options,
                              const FolderTokens& folder, std::int64_t ranks) {
  if (!options.kind.empty()) {
    if (const TiktokenKind* kind = tiktoken_kind(options.kind)) return kind;
    std::vector<std::string_view> names;
    for (const TiktokenKind& kind : tiktoken_kinds()) names.push_back(kind.name);
    fail(ErrorKind::kInvalidArgument, "tiktoken kind '{}' is not known; it may be {}",
         display_text(options.kind), fmt::join(names, ", "));
  }
  if (!options.pattern.empty()) return nullptr;
  const std::string name = sys::base_name(path);
  if (const auto* kind = tiktoken_kind_by_stem(name.substr(0, name.rfind('.')))) return kind;
  for (const std::string& hint : {folder.tokenizer_class, folder.model_type}) {
    if (const auto* kind = tiktoken_kind_by_hint(hint)) return kind;
  }
  if (const auto* kind = tiktoken_kind_by_ranks(ranks)) return kind;
  fail(ErrorKind::kUnsupported,
       "a tiktoken file with {} tokens does not say how it cuts text into words, and neither its "
       "name nor tokenizer_config.json tells; use tokenizer.json, or give a pattern",
       ranks);
}

AddedToken special_token(std::string content, std::int32_t id) {
  AddedToken token;
  token.content = std::move(content);
  token.id = id;
  token.normalized = false;
  token.special = true;
  return token;
}

// Names of the folder's files come first, then those of the options, then the kind's; each id has
// one name.
std::vector<AddedToken> special_tokens(const TiktokenOptions& options, const FolderTokens& folder,
                                       const TiktokenKind* kind, std::int64_t ranks) {
  std::vector<AddedToken> tokens = folder.added;
  std::unordered_set<std::int32_t> taken;
  std::unordered_set<std::string> names;
  for (const AddedToken& token : tokens) {
    taken.insert(token.id);
    names.insert(token.content);
  }
  const auto add = [&](std::string_view content, std::int32_t id) {
    if (!names.insert(std::string(content)).second || !taken.insert(id).second) return;
    tokens.push_back(special_token(std::string(content), id));
  };
  for (const auto& [content, id] : options.special_tokens) {
    if (id < 0) fail(ErrorKind::kInvalidArgument, "special token '{}' has id {}", content, id);
    add(content, id);
  }
  if (kind == nullptr) return tokens;
  if (folder.added.empty() && options.special_tokens.empty()) {
    for (const auto& [content, id] : kind->special) {
      // A file of another size is another vocabulary, cut in the same way.
      if (id >= ranks && id < ranks + kMostSpecial) add(content, id);
    }
  }
  for (const auto& [content, id] : reserved_tokens(*kind, ranks)) add(content, id);
  return tokens;
}

}  // namespace

Tokenizer tokenizer_from_tiktoken(std::string_view text, const std::string& path,
                                  const TiktokenOptions& options, const FolderTokens& folder) {
  const std::vector<RankedToken> ranked = parse_tiktoken(text);
  const auto ranks = static_cast<std::int64_t>(ranked.size());
  const TiktokenKind* kind = find_kind(path, options, folder, ranks);
  const std::string_view pattern = options.pattern.empty() ? kind->pattern : options.pattern;
  const nlohmann::json root =
      byte_level_components(std::span(&pattern, 1), kind != nullptr && kind->nfc);
  auto state = std::make_shared<detail::TokenizerState>();
  state->model = make_rank_model(ranked);
  if (root.contains("normalizer")) {
    state->normalizer = make_normalizer(JsonView(root["normalizer"], "normalizer"));
  }
  state->pre_tokenizer = make_pre_tokenizer(JsonView(root["pre_tokenizer"], "pattern"));
  state->decoder = make_decoder(JsonView(root["decoder"], "decoder"));
  state->added = AddedTokens(special_tokens(options, folder, kind, ranks),
                             state->model->vocabulary(), state->normalizer.get());
  const bool begin = folder.add_bos.value_or(false);
  const bool end = folder.add_eos.value_or(false);
  state->post_processor = frame(begin ? state->added.find(folder.bos_token) : std::nullopt,
                                end ? state->added.find(folder.eos_token) : std::nullopt);
  state->finish();
  return Tokenizer(state);
}

Tokenizer Tokenizer::from_tiktoken(const std::filesystem::path& path,
                                   const TiktokenOptions& options) {
  return load_named(path.string(), [&] {
    return tokenizer_from_tiktoken(sys::read_file(path.string(), kMaxTokenizerBytes), path.string(),
                                   options, FolderTokens{});
  });
}

}  // namespace conclave::text
