#include "train/data.h"

#include <algorithm>
#include <numeric>

#include "base/rng.h"
#include "io/text_files.h"
#include "sys/interrupt.h"

namespace conclave::train {

LabelledTokens encode_labelled(const text::Tokenizer& tokenizer, const std::string& label,
                               const std::string& text, int eos_id) {
  LabelledTokens result;
  result.label = label;
  const std::string separator = {'\n', kDocumentSeparator, '\n'};
  for (std::size_t begin = 0; begin < text.size();) {
    sys::stop_if_interrupted("encoding texts");
    std::size_t end = text.find(separator, begin);
    const std::size_t next = end == std::string::npos ? text.size() : end + separator.size();
    if (end == std::string::npos) end = text.size();
    const std::string_view document = std::string_view(text).substr(begin, end - begin);
    const auto ids = tokenizer.encode(document, {.add_special = false});
    result.ids.insert(result.ids.end(), ids.begin(), ids.end());
    if (eos_id >= 0) result.ids.push_back(eos_id);
    result.bytes += static_cast<std::int64_t>(document.size());
    begin = next;
  }
  return result;
}

LabelledTokens load_labelled(const text::Tokenizer& tokenizer, const LabelledFile& file,
                             int eos_id) {
  return encode_labelled(tokenizer, file.label, io::read_text_file(file.path), eos_id);
}

TrainingData::TrainingData(std::vector<LabelledTokens> texts, int sequence, std::uint64_t seed)
    : texts_(std::move(texts)), sequence_(sequence), seed_(seed) {
  for (std::size_t t = 0; t < texts_.size(); ++t) {
    const auto n = static_cast<std::int64_t>(texts_[t].ids.size());
    for (std::int64_t start = 0; start + sequence + 1 <= n; start += sequence) {
      starts_.emplace_back(static_cast<std::int32_t>(t), start);
    }
  }
  if (starts_.empty()) {
    fail(ErrorKind::kInvalidArgument,
         "data.train: the texts together have no sequence of {} tokens: add text or reduce "
         "train.sequence",
         sequence + 1);
  }
}

void TrainingData::shuffle(std::int64_t epoch) {  // Fisher-Yates
  epoch_ = epoch;
  order_.resize(starts_.size());
  std::iota(order_.begin(), order_.end(), 0);
  const Rng rng = Rng(seed_).fork(0x64617461).fork(static_cast<std::uint64_t>(epoch));
  for (std::size_t i = order_.size(); i > 1; --i) {
    std::swap(order_[i - 1], order_[rng.below(i, i)]);
  }
}

std::span<const std::int32_t> TrainingData::draw(std::int64_t index) {
  const std::int64_t epoch = index / chunks();
  if (epoch != epoch_) shuffle(epoch);
  const auto place = static_cast<std::size_t>(order_[static_cast<std::size_t>(index % chunks())]);
  const auto& [text, start] = starts_[place];
  return std::span<const std::int32_t>(texts_[static_cast<std::size_t>(text)].ids)
      .subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(sequence_) + 1);
}

}  // namespace conclave::train
