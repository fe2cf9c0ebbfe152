#include "text/unigram_model.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/display.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

// An unknown character scores this much less than the worst token (SentencePiece's constant).
constexpr double kUnkPenalty = 10.0;
// Bounds the work at each byte of a text; the longest tokens in use have some 60 bytes.
constexpr std::size_t kLongestToken = 1024;
constexpr std::uint32_t kNowhere = 0xffffffffu;

}  // namespace

UnigramModel::UnigramModel(UnigramConfig config, std::vector<std::pair<std::string, double>> tokens)
    : config_(config) {
  if (config_.unk_id &&
      (*config_.unk_id < 0 || static_cast<std::size_t>(*config_.unk_id) >= tokens.size())) {
    fail(ErrorKind::kBadFile, "key 'model.unk_id': found {}, expected an id below {}",
         *config_.unk_id, tokens.size());
  }
  vocabulary_.reserve(tokens.size());
  double lowest = std::numeric_limits<double>::infinity();
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto& [token, score] = tokens[i];
    if (token.size() > kLongestToken) {
      fail(ErrorKind::kUnsupported, "token {} has {} bytes; at most {} are supported", i,
           token.size(), kLongestToken);
    }
    const auto id = static_cast<std::int32_t>(i);
    vocabulary_.add_or_replace(token, id);
    if (!token.empty()) entries.emplace_back(token, id);
    scores_.push_back(score);
    lowest = std::min(lowest, score);
  }
  vocabulary_.finish();
  trie_ = TokenTrie(std::move(entries));
  unk_score_ = lowest - kUnkPenalty;
}

// links[i] is where the last token of the best path to byte i begins, ids[i] which it is.
void UnigramModel::find_best_path(std::string_view piece, ModelScratch& scratch) const {
  scratch.scores.assign(piece.size() + 1, 0.0);
  scratch.links.assign(piece.size() + 1, kNowhere);
  scratch.symbols.assign(piece.size() + 1, 0);
  for (std::size_t begin = 0; begin < piece.size();) {
    const double so_far = scratch.scores[begin];
    const std::size_t char_end = begin + decode_utf8(piece, begin).size;
    const auto offer = [&](std::size_t end, double score, std::int32_t id) {
      if (scratch.links[end] != kNowhere && score <= scratch.scores[end]) return;
      scratch.scores[end] = score;
      scratch.links[end] = static_cast<std::uint32_t>(begin);
      scratch.symbols[end] = id;
    };
    bool single = false;
    std::uint32_t node = TokenTrie::kRoot;
    for (std::size_t end = begin; end < piece.size();) {
      node = trie_.step(node, piece[end++]);
      if (node == TokenTrie::kNone) break;
      const std::int32_t id = trie_.value(node);
      if (id < 0) continue;
      offer(end, scores_[static_cast<std::size_t>(id)] + so_far, id);
      single = single || end == char_end;
    }
    if (!single) offer(char_end, unk_score_ + so_far, config_.unk_id.value_or(-1));
    begin = char_end;
  }
}

void UnigramModel::append(std::string_view part, std::vector<std::int32_t>& ids) const {
  if (const auto id = vocabulary_.find(part)) {
    ids.push_back(*id);
    return;
  }
  if (config_.byte_fallback) {
    const std::size_t before = ids.size();
    for (const char byte : part) {
      const auto id = vocabulary_.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte)));
      if (!id) break;
      ids.push_back(*id);
    }
    if (ids.size() - before == part.size()) return;
    ids.resize(before);
  }
  if (!config_.unk_id) {
    fail(ErrorKind::kUnsupported,
         "text '{}' has characters that the vocabulary lacks, and there is no unknown token",
         display_text(part));
  }
  ids.push_back(*config_.unk_id);
}

void UnigramModel::encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
                          std::vector<std::int32_t>& ids) const {
  if (const auto* known = scratch.cache.find(piece)) {
    ids.insert(ids.end(), known->begin(), known->end());
    return;
  }
  const std::string_view original = piece;
  if (byte_level) {
    scratch.spelling.clear();
    append_alphabet(scratch.spelling, piece);
    piece = scratch.spelling;
  }
  find_best_path(piece, scratch);
  // Backwards, neighbouring unknown characters taken as one.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> parts;
  bool unknown_before = false;
  for (auto end = static_cast<std::uint32_t>(piece.size()); end > 0;) {
    const std::uint32_t begin = scratch.links[end];
    const bool unknown = scratch.symbols[end] == config_.unk_id.value_or(-1);
    if (unknown && unknown_before) {
      parts.back().first = begin;
    } else {
      parts.emplace_back(begin, end);
    }
    unknown_before = unknown;
    end = begin;
  }
  const std::size_t first = ids.size();
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    append(piece.substr(part->first, part->second - part->first), ids);
  }
  scratch.cache.put(original, std::span(ids).subspan(first));
}

std::unique_ptr<Model> make_unigram_model(const JsonView& config, TokenizerFile& file) {
  if (!file.has_scored_vocab)
    fail(ErrorKind::kBadFile, "key 'model.vocab': missing, or not a list");
  UnigramConfig settings;
  if (config.has("unk_id")) {
    const std::int64_t id = config.at("unk_id").integer();
    if (id < 0 || id >= kMaxVocabulary) config.at("unk_id").wrong("an id of the vocabulary");
    settings.unk_id = static_cast<std::int32_t>(id);
  }
  settings.byte_fallback = config.boolean_or("byte_fallback", false);
  return std::make_unique<UnigramModel>(settings, std::move(file.scored_vocab));
}

}  // namespace conclave::text
