#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/display.h"

namespace conclave::text {
namespace {

constexpr int kMaxNesting = 8;

class SequencePreTokenizer : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(Pieces& pieces, RegexScratch& scratch) const override {
    for (const auto& step : steps_) step->apply(pieces, scratch);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

std::unique_ptr<PreTokenizer> make_nested(const JsonView& config, int depth) {
  const std::string& type = config.text("type");
  if (type == "Sequence") {
    if (depth == kMaxNesting) {
      fail(ErrorKind::kUnsupported, "key '{}': sequences nested deeper than {}", config.path(),
           kMaxNesting);
    }
    const JsonView list = config.at("pretokenizers");
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    for (std::size_t i = 0; i < list.size(); ++i) {
      steps.push_back(make_nested(list.at(i), depth + 1));
    }
    return std::make_unique<SequencePreTokenizer>(std::move(steps));
  }
  using Make = std::unique_ptr<PreTokenizer> (*)(const std::string&, const JsonView&);
  for (const Make make :
       {&make_split_pre_tokenizer, &make_byte_level_pre_tokenizer, &make_metaspace_pre_tokenizer,
        &make_char_pre_tokenizer, &make_script_pre_tokenizer}) {
    if (auto result = make(type, config)) return result;
  }
  fail(ErrorKind::kUnsupported, "key '{}': pre-tokenizer '{}' is not known", config.path(),
       display_text(type));
}

bool extends_last(std::vector<RegexPart>& merged, const RegexPart& part, bool joins) {
  if (!joins || merged.empty()) return false;
  merged.back().end = part.end;
  return true;
}

// Joins parts as `behavior` wants; in the result `match` says that the part goes away.
void join_parts(std::vector<RegexPart>& parts, SplitBehavior behavior) {
  std::vector<RegexPart> merged;
  merged.reserve(parts.size());
  bool previous = false;
  if (behavior == SplitBehavior::kMergedWithNext) {
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (part->match && !previous && !merged.empty()) {
        merged.back().begin = part->begin;
      } else {
        merged.push_back({part->begin, part->end, false});
      }
      previous = part->match;
    }
    std::reverse(merged.begin(), merged.end());
  } else {
    for (const RegexPart& part : parts) {
      const bool joins =
          behavior == SplitBehavior::kContiguous ? part.match == previous : part.match && !previous;
      if (!extends_last(merged, part, joins)) merged.push_back({part.begin, part.end, false});
      previous = part.match;
    }
  }
  parts = std::move(merged);
}

}  // namespace

void check_piece_offsets(std::size_t bytes) {
  if (bytes > UINT32_MAX) {
    fail(ErrorKind::kInvalidArgument,
         "text of {} bytes after normalizing; at most {} are supported", bytes, UINT32_MAX);
  }
}

void Pieces::spell_out() {
  if (!byte_level) return;
  byte_level = false;
  std::string spelled;
  spelled.reserve(text.size() + text.size() / 4);
  for (Piece& piece : pieces) {
    const std::size_t begin = spelled.size();
    append_alphabet(spelled, view(piece));
    piece.begin = static_cast<std::uint32_t>(begin);
    piece.end = static_cast<std::uint32_t>(spelled.size());
  }
  check_piece_offsets(spelled.size());
  text = std::move(spelled);
}

SplitBehavior parse_split_behavior(const JsonView& value) {
  const std::string& name = value.text();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  value.wrong("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

void append_split(const Piece& piece, std::vector<RegexPart>& parts, SplitBehavior behavior,
                  std::vector<Piece>& out) {
  if (behavior == SplitBehavior::kIsolated) {
    for (RegexPart& part : parts) part.match = false;
  } else if (behavior != SplitBehavior::kRemoved) {
    join_parts(parts, behavior);
  }
  for (const RegexPart& part : parts) {
    if (part.match || part.begin >= part.end) continue;
    out.push_back({part.begin, part.end, piece.at_start && part.begin == piece.begin});
  }
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonView& config) {
  return make_nested(config, 0);
}

}  // namespace conclave::text
