#include "text/bpe_model.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/display.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

// Pieces shorter than this are not worth cutting into runs.
constexpr std::size_t kRunsFrom = 64;

std::string_view first_char(std::string_view token) {
  return token.empty() ? token : token.substr(0, decode_utf8(token, 0).size);
}

std::string_view last_char(std::string_view token) {
  if (token.empty()) return token;
  return token.substr(token.size() - decode_utf8_before(token, token.size()).size);
}

}  // namespace

BpeModel::BpeModel(BpeConfig config, Vocabulary vocabulary,
                   std::span<const std::pair<std::string, std::string>> merges)
    : config_(std::move(config)) {
  vocabulary_ = std::move(vocabulary);
  if (config_.unk_token) {
    unk_id_ = vocabulary_.find(*config_.unk_token);
    if (!unk_id_) {
      fail(ErrorKind::kBadFile, "key 'model.unk_token': '{}' is not in the vocabulary",
           display_text(*config_.unk_token));
    }
  }
  find_symbols();
  add_merges(merges);
  find_bridges(merges);
}

BpeModel::BpeModel(BpeConfig config, Vocabulary vocabulary, SymbolMerges merges)
    : config_(std::move(config)),
      merges_(std::move(merges.merges)),
      bridges_(std::move(merges.bridges)),
      has_bridges_(true) {
  vocabulary_ = std::move(vocabulary);
  find_symbols();
}

void BpeModel::find_symbols() {
  const bool whole =
      config_.continuing_subword_prefix.empty() && config_.end_of_word_suffix.empty();
  has_alphabet_ = whole;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto id = vocabulary_.find(byte_to_alphabet(static_cast<std::uint8_t>(byte)));
    byte_ids_[byte] = id.value_or(kMissing);
    has_alphabet_ = has_alphabet_ && id;
    fallback_ids_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(kMissing);
  }
}

void BpeModel::add_merges(std::span<const std::pair<std::string, std::string>> merges) {
  merges_.reserve(merges.size());
  std::string joined;
  const auto id_of = [&](std::string_view token, std::size_t index) {
    const auto id = vocabulary_.find(token);
    if (!id) {
      fail(ErrorKind::kBadFile, "key 'model.merges[{}]': token '{}' is not in the vocabulary",
           index, display_text(token));
    }
    return *id;
  };
  const std::size_t prefix = config_.continuing_subword_prefix.size();
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right] = merges[i];
    const std::int32_t left_id = id_of(left, i);
    const std::int32_t right_id = id_of(right, i);
    if (right.size() < prefix) {
      fail(ErrorKind::kBadFile, "key 'model.merges[{}]': '{}' is shorter than the prefix '{}'", i,
           display_text(right), display_text(config_.continuing_subword_prefix));
    }
    joined = left;
    joined += std::string_view(right).substr(prefix);
    merges_.add(left_id, right_id, {static_cast<std::uint32_t>(i), id_of(joined, i)});
  }
}

// Sound only while symbols are characters: a byte or unknown token that takes part in merges, or
// two tokens that share an id, would join what their spellings do not show.
void BpeModel::find_bridges(std::span<const std::pair<std::string, std::string>> merges) {
  if (!config_.continuing_subword_prefix.empty() || !config_.end_of_word_suffix.empty()) return;
  std::unordered_set<std::int32_t> special;
  if (unk_id_) special.insert(*unk_id_);
  if (config_.byte_fallback) special.insert(fallback_ids_.begin(), fallback_ids_.end());
  for (const auto& [left, right] : merges) {
    const auto left_id = vocabulary_.find(left);
    const auto right_id = vocabulary_.find(right);
    if (special.count(*left_id) > 0 || special.count(*right_id) > 0) return;
    if (vocabulary_.text(*left_id) != left || vocabulary_.text(*right_id) != right) return;
    const auto before = vocabulary_.find(last_char(left));
    const auto after = vocabulary_.find(first_char(right));
    if (!before || !after) continue;  // not made of characters that exist: never comes up
    bridges_.add(*before, *after, {0, 0});
  }
  has_bridges_ = true;
}

std::optional<std::int32_t> BpeModel::char_id(std::string_view character, bool first,
                                              bool last) const {
  if (first && last && config_.end_of_word_suffix.empty()) return vocabulary_.find(character);
  std::string spelling;
  if (!first) spelling += config_.continuing_subword_prefix;
  spelling += character;
  if (last) spelling += config_.end_of_word_suffix;
  return vocabulary_.find(spelling);
}

bool BpeModel::append_fallback(std::string_view character,
                               std::vector<std::int32_t>& symbols) const {
  const auto id_of = [this](char byte) { return fallback_ids_[static_cast<std::uint8_t>(byte)]; };
  for (const char byte : character) {
    if (id_of(byte) == kMissing) return false;
  }
  for (const char byte : character) symbols.push_back(id_of(byte));
  return true;
}

// An unknown character is held back until the next known one, so that neighbours can be fused; byte
// tokens do not end that, as in the library whose ids these are.
void BpeModel::chars_to_symbols(std::string_view piece, std::vector<std::int32_t>& symbols) const {
  const bool plain =
      config_.continuing_subword_prefix.empty() && config_.end_of_word_suffix.empty();
  bool unknown = false;
  for (std::size_t i = 0; i < piece.size();) {
    const std::size_t size = decode_utf8(piece, i).size;
    const std::string_view character = piece.substr(i, size);
    const bool last = i + size == piece.size();
    const auto id = plain ? vocabulary_.find(character) : char_id(character, i == 0, last);
    if (id) {
      if (unknown) symbols.push_back(*unk_id_);
      unknown = false;
      symbols.push_back(*id);
    } else if (!config_.byte_fallback || !append_fallback(character, symbols)) {
      if (unknown && !config_.fuse_unk) symbols.push_back(*unk_id_);
      unknown = unk_id_.has_value();
    }
    i += size;
  }
  if (unknown) symbols.push_back(*unk_id_);
}

void BpeModel::bytes_to_symbols(std::string_view piece, std::vector<std::int32_t>& symbols) const {
  symbols.reserve(piece.size());
  for (const char byte : piece) symbols.push_back(byte_ids_[static_cast<std::uint8_t>(byte)]);
}

void BpeModel::encode_in_runs(ModelScratch& scratch, std::vector<std::int32_t>& ids) const {
  const std::vector<std::int32_t> all = std::move(scratch.symbols);
  std::size_t begin = 0;
  for (std::size_t i = 1; i <= all.size(); ++i) {
    if (i < all.size() && bridges_.rank(all[i - 1], all[i]) != MergeTable::kNone) continue;
    scratch.symbols.assign(all.begin() + static_cast<std::ptrdiff_t>(begin),
                           all.begin() + static_cast<std::ptrdiff_t>(i));
    merge_symbols(merges_, scratch.symbols, scratch.merge);
    ids.insert(ids.end(), scratch.symbols.begin(), scratch.symbols.end());
    begin = i;
  }
}

void BpeModel::encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
                      std::vector<std::int32_t>& ids) const {
  if (const auto* known = scratch.cache.find(piece)) {
    ids.insert(ids.end(), known->begin(), known->end());
    return;
  }
  const std::size_t begin = ids.size();
  const std::string_view original = piece;
  if (byte_level && (config_.ignore_merges || !has_alphabet_)) {
    scratch.spelling.clear();
    append_alphabet(scratch.spelling, piece);
    piece = scratch.spelling;
    byte_level = false;
  }
  std::optional<std::int32_t> whole;
  if (config_.ignore_merges) whole = vocabulary_.find(piece);
  if (whole) {
    ids.push_back(*whole);
  } else {
    scratch.symbols.clear();
    if (byte_level) {
      bytes_to_symbols(piece, scratch.symbols);
    } else {
      chars_to_symbols(piece, scratch.symbols);
    }
    if (has_bridges_ && scratch.symbols.size() >= kRunsFrom) {
      encode_in_runs(scratch, ids);
    } else {
      merge_symbols(merges_, scratch.symbols, scratch.merge);
      ids.insert(ids.end(), scratch.symbols.begin(), scratch.symbols.end());
    }
  }
  scratch.cache.put(original, std::span(ids).subspan(begin));
}

std::unique_ptr<Model> make_bpe_model(const JsonView& config, TokenizerFile& file) {
  if (config.has("dropout") && !config.at("dropout").is_null()) {
    const JsonView dropout = config.at("dropout");
    if (dropout.number() != 0) {
      fail(ErrorKind::kUnsupported, "key '{}': dropout makes ids random; set it to null",
           dropout.path());
    }
  }
  if (!file.has_merges) fail(ErrorKind::kBadFile, "key 'model.merges': missing, or not a list");
  BpeConfig settings;
  if (config.has("unk_token")) settings.unk_token = config.text("unk_token");
  settings.continuing_subword_prefix = config.text_or("continuing_subword_prefix", "");
  settings.end_of_word_suffix = config.text_or("end_of_word_suffix", "");
  settings.fuse_unk = config.boolean_or("fuse_unk", false);
  settings.byte_fallback = config.boolean_or("byte_fallback", false);
  settings.ignore_merges = config.boolean_or("ignore_merges", false);
  Vocabulary vocabulary;
  take_vocabulary(file, vocabulary);
  return std::make_unique<BpeModel>(std::move(settings), std::move(vocabulary), file.merges);
}

}  // namespace conclave::text
