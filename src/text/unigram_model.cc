#include "text/unigram_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/display.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

// An unknown character scores this much less than the worst token (SentencePiece's constant).
constexpr float kUnkPenalty = 10.0f;
// Bounds the work at each byte of a text; the longest tokens in use have some 60 bytes.
constexpr std::size_t kLongestToken = 1024;

void check_length(std::size_t index, std::string_view token) {
  if (token.size() > kLongestToken) {
    fail(ErrorKind::kUnsupported, "token {} has {} bytes; at most {} are supported", index,
         token.size(), kLongestToken);
  }
}

}  // namespace

// The best ways to the bytes of a piece from `start` on, which every way passes. A step is the last
// token on the best way to a byte: its id (-1: an unknown character) and bytes (0: no way there
// yet). Scores matter only as far back as a token is long.
struct UnigramModel::Path {
  struct Step {
    std::int32_t id = -1;
    std::uint16_t size = 0;
  };
  std::size_t start = 0;
  std::size_t furthest = 0;
  std::vector<Step> steps;
  std::vector<double> scores;
  double& score(std::size_t at) { return scores[at & (scores.size() - 1)]; }
  Step& step(std::size_t at) {
    if (at - start >= steps.size()) steps.resize(at - start + 1);
    return steps[at - start];
  }
};

UnigramModel::UnigramModel(UnigramConfig config,
                           const std::vector<std::pair<std::string, double>>& tokens)
    : config_(config) {
  check_unknown(tokens.size());
  vocabulary_.reserve(tokens.size());
  double lowest = std::numeric_limits<double>::infinity();
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto& [token, score] = tokens[i];
    check_length(i, token);
    vocabulary_.add_or_replace(token, static_cast<std::int64_t>(i));
    if (!token.empty()) entries.emplace_back(token, static_cast<std::int32_t>(i));
    scores_.push_back(score);
    lowest = std::min(lowest, score);
  }
  vocabulary_.finish();
  trie_ = TokenTrie(std::move(entries));
  unk_score_ = lowest - static_cast<double>(kUnkPenalty);
  find_bytes();
}

UnigramModel::UnigramModel(UnigramConfig config, const std::vector<ScoredPiece>& pieces)
    : config_(config), single_precision_(true) {
  check_unknown(pieces.size());
  vocabulary_.reserve(pieces.size());
  // A user-defined token scores 0.1 for each byte but one, which beats all sums of other tokens;
  // measured on version 0.2.3 of the library, as ties depend on it.
  float lowest = std::numeric_limits<float>::max();
  float highest = 0.1f;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const ScoredPiece& piece = pieces[i];
    check_length(i, piece.text);
    if (!std::isfinite(piece.score)) {
      fail(ErrorKind::kBadFile, "token {} '{}': its score is not a finite number", i,
           display_text(piece.text));
    }
    if (!piece.text.empty()) vocabulary_.add(piece.text, static_cast<std::int64_t>(i));
    if (piece.kind != PieceKind::kNormal) continue;
    lowest = std::min(lowest, piece.score);
    highest = std::max(highest, piece.score);
  }
  vocabulary_.finish();
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const ScoredPiece& piece = pieces[i];
    scores_.push_back(static_cast<double>(piece.score));
    const bool user_defined = piece.kind == PieceKind::kUserDefined;
    if (piece.text.empty() || (piece.kind != PieceKind::kNormal && !user_defined)) continue;
    entries.emplace_back(piece.text, static_cast<std::int32_t>(i));
    if (user_defined) {
      const float product = static_cast<float>(piece.text.size()) * highest;
      scores_.back() = static_cast<double>(static_cast<float>(static_cast<double>(product) - 0.1));
    }
  }
  trie_ = TokenTrie(std::move(entries));
  unk_score_ = static_cast<double>(lowest - kUnkPenalty);
  find_bytes();
}

void UnigramModel::check_unknown(std::size_t tokens) const {
  if (config_.unk_id &&
      (*config_.unk_id < 0 || static_cast<std::size_t>(*config_.unk_id) >= tokens)) {
    fail(ErrorKind::kBadFile, "key 'model.unk_id': found {}, expected an id below {}",
         *config_.unk_id, tokens);
  }
}

void UnigramModel::find_bytes() {
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  }
}

// Offers every token that begins at `begin` to the byte where it ends.
void UnigramModel::extend(std::string_view piece, std::size_t begin, Path& path) const {
  const double so_far = path.score(begin);
  const std::size_t char_end = begin + decode_utf8(piece, begin).size;
  const auto offer = [&](std::size_t end, double score, std::int32_t id) {
    if (single_precision_) score = static_cast<double>(static_cast<float>(score));
    Path::Step& step = path.step(end);
    if (step.size > 0 && score <= path.score(end)) return;
    path.score(end) = score;
    step = {id, static_cast<std::uint16_t>(end - begin)};
    path.furthest = std::max(path.furthest, end);
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
  if (single) return;
  offer(char_end, unk_score_ + so_far, -1);
}

void UnigramModel::append_unknown(std::string_view part, std::vector<std::int32_t>& ids) const {
  // Where it is a token after all, of a score worse than that of unknown characters, Hugging Face
  // `tokenizers` takes it.
  if (!single_precision_) {
    if (const auto id = vocabulary_.find(part)) {
      ids.push_back(*id);
      return;
    }
  }
  if (config_.byte_fallback) {
    const auto id_of = [this](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    if (std::all_of(part.begin(), part.end(), [&](char byte) { return id_of(byte) >= 0; })) {
      for (const char byte : part) ids.push_back(id_of(byte));
      return;
    }
  }
  if (!config_.unk_id) {
    fail(ErrorKind::kUnsupported,
         "text '{}' has characters that the vocabulary lacks, and there is no unknown token",
         display_text(part));
  }
  ids.push_back(*config_.unk_id);
}

// Appends the tokens of a path. Neighbouring unknown characters become one token; those at the end
// are left in `unknown`, as more may follow.
void UnigramModel::append_path(std::string_view piece, const Path& path,
                               std::vector<std::int32_t>& ids, std::string& unknown) const {
  std::vector<Path::Step> steps;
  for (std::size_t at = path.furthest; at > path.start;) {
    steps.push_back(path.steps[at - path.start]);
    at -= steps.back().size;
  }
  std::size_t begin = path.start;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const std::string_view part = piece.substr(begin, step->size);
    begin += step->size;
    // A token that is the unknown one by its spelling counts as unknown characters, too.
    if (step->id < 0 || step->id == config_.unk_id) {
      unknown += part;
      continue;
    }
    if (!unknown.empty()) append_unknown(unknown, ids);
    unknown.clear();
    ids.push_back(step->id);
  }
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
  const std::size_t first = ids.size();
  Path path;
  path.scores.assign(std::bit_ceil(std::max(trie_.longest(), std::size_t{4}) + 1), 0.0);
  std::string unknown;
  // Wherever no token reaches beyond, all ways meet and the best one so far is settled.
  for (std::size_t begin = 0; begin < piece.size();) {
    extend(piece, begin, path);
    begin += decode_utf8(piece, begin).size;
    if (begin != path.furthest) continue;
    append_path(piece, path, ids, unknown);
    path.start = begin;
    path.steps.clear();
  }
  if (!unknown.empty()) append_unknown(unknown, ids);
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
  const auto tokens = std::move(file.scored_vocab);
  return std::make_unique<UnigramModel>(settings, tokens);
}

}  // namespace conclave::text
