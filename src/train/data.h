// Text as training data: labelled files become token arrays, cut into chunks of one sequence; each
// epoch visits every chunk once, in an order that is a function of seed and epoch alone. So the
// place in the data is one number, and resuming needs nothing else.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"
#include "train/config.h"

namespace conclave::train {

// Documents are separated by this character on a line of its own; training puts the end-of-text
// token there.
inline constexpr char kDocumentSeparator = '\x1e';

struct LabelledTokens {
  std::string label;
  std::vector<std::int32_t> ids;
  std::int64_t bytes = 0;  // of the text, without separators
};

// Splits text at separators, encodes each document, and puts eos_id (if >= 0) after each.
// Throws Error(kInterrupted) between documents where a signal asks to stop.
LabelledTokens encode_labelled(const text::Tokenizer& tokenizer, const std::string& label,
                               const std::string& text, int eos_id);
// The same for a file; throws what io::read_text_file throws.
LabelledTokens load_labelled(const text::Tokenizer& tokenizer, const LabelledFile& file,
                             int eos_id);

class TrainingData {
 public:
  // Throws Error(kInvalidArgument) where the texts are shorter than one sequence.
  TrainingData(std::vector<LabelledTokens> texts, int sequence, std::uint64_t seed);

  std::int64_t chunks() const { return static_cast<std::int64_t>(starts_.size()); }
  // sequence + 1 ids (inputs and targets overlap) of the `index`-th chunk ever drawn.
  std::span<const std::int32_t> draw(std::int64_t index);
  const std::vector<LabelledTokens>& texts() const { return texts_; }

 private:
  void shuffle(std::int64_t epoch);

  std::vector<LabelledTokens> texts_;
  int sequence_;
  std::uint64_t seed_;
  std::vector<std::pair<std::int32_t, std::int64_t>> starts_;  // text, first token
  std::vector<std::int64_t> order_;
  std::int64_t epoch_ = -1;
};

}  // namespace conclave::train
