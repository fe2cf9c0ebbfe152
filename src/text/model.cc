#include "text/model.h"

#include "base/error.h"
#include "text/display.h"

namespace conclave::text {

void take_vocabulary(TokenizerFile& file, Vocabulary& vocabulary) {
  if (!file.has_vocab) fail(ErrorKind::kBadFile, "key 'model.vocab': missing, or not an object");
  vocabulary.reserve(file.vocab.size());
  for (const auto& [token, id] : file.vocab) vocabulary.add(token, id);
  vocabulary.finish();
  file.vocab = {};
}

std::unique_ptr<Model> make_model(const JsonView& config, TokenizerFile& file) {
  // Files of before 2020 do not name the kind; each kind has a key that no other has.
  std::string type = config.text_or("type", "");
  if (type.empty()) {
    type = file.has_merges                          ? "BPE"
           : file.has_scored_vocab                  ? "Unigram"
           : config.has("max_input_chars_per_word") ? "WordPiece"
                                                    : "WordLevel";
  }
  if (type == "BPE") return make_bpe_model(config, file);
  if (type == "Unigram") return make_unigram_model(config, file);
  if (type == "WordPiece") return make_word_piece_model(config, file);
  if (type == "WordLevel") return make_word_level_model(config, file);
  fail(ErrorKind::kUnsupported, "key 'model.type': '{}' is not known", display_text(type));
}

}  // namespace conclave::text
