// Tokenizer from a SentencePiece .model file.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "sys/files.h"
#include "text/model_folder.h"
#include "text/tokenizer.h"
#include "text/tokenizer_build.h"

namespace conclave::text {
namespace {

// Classes of transformers that give other ids than their .model file does.
constexpr std::array<std::string_view, 6> kRenumbering = {
    "NllbTokenizer",    "XLMRobertaTokenizer", "MBartTokenizer",
    "MBart50Tokenizer", "CamembertTokenizer",  "XGLMTokenizer"};

std::optional<std::int32_t> find_piece(const SentencePieceFile& file, std::string_view text) {
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    if (file.pieces[i].text == text) return static_cast<std::int32_t>(i);
  }
  return std::nullopt;
}

std::int32_t find_unknown(const SentencePieceFile& file) {
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    if (file.pieces[i].kind == PieceKind::kUnknown) return static_cast<std::int32_t>(i);
  }
  fail(ErrorKind::kBadFile, "none of the {} tokens is marked as the unknown one",
       file.pieces.size());
}

}  // namespace

Tokenizer tokenizer_from_sentencepiece(std::string_view bytes, const FolderTokens& folder) {
  if (std::find(kRenumbering.begin(), kRenumbering.end(), folder.tokenizer_class) !=
      kRenumbering.end()) {
    fail(ErrorKind::kUnsupported,
         "{} gives other ids than its .model file; save the model's fast tokenizer, which writes "
         "tokenizer.json",
         folder.tokenizer_class);
  }
  SentencePieceSource source;
  source.file = parse_sentencepiece_file(bytes);
  source.unk_id = find_unknown(source.file);
  source.added = folder.added;
  // What the classes that use such files do where their configuration does not say.
  const bool t5 = folder.tokenizer_class == "T5Tokenizer";
  const std::string bos = folder.bos_token.empty() ? source.file.bos_piece : folder.bos_token;
  const std::string eos = folder.eos_token.empty() ? source.file.eos_piece : folder.eos_token;
  const auto bos_id = find_piece(source.file, bos);
  const auto eos_id = find_piece(source.file, eos);
  const StatePtr state = build_from_sentencepiece(std::move(source));
  state->post_processor = frame(folder.add_bos.value_or(!t5) ? bos_id : std::nullopt,
                                folder.add_eos.value_or(t5) ? eos_id : std::nullopt);
  state->finish();
  return Tokenizer(state);
}

Tokenizer Tokenizer::from_sentencepiece(const std::filesystem::path& path) {
  return load_named(path.string(), [&] {
    return tokenizer_from_sentencepiece(sys::read_file(path.string(), kMaxTokenizerBytes),
                                        FolderTokens{});
  });
}

}  // namespace conclave::text
