// SentencePiece's .model files, written: the counterpart of sentencepiece_file.cc.
#include <bit>

#include "text/sentencepiece_file.h"

namespace conclave::text {
namespace {

// The wire format (protobuf.dev, "Encoding").
enum class Wire : std::uint64_t { kInteger = 0, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_key(std::string& out, std::uint64_t field, Wire wire) {
  put_varint(out, field << 3 | static_cast<std::uint64_t>(wire));
}

void put_integer(std::string& out, std::uint64_t field, std::uint64_t value) {
  put_key(out, field, Wire::kInteger);
  put_varint(out, value);
}

void put_bytes(std::string& out, std::uint64_t field, std::string_view value) {
  put_key(out, field, Wire::kBytes);
  put_varint(out, value.size());
  out += value;
}

void put_float(std::string& out, std::uint64_t field, float value) {
  put_key(out, field, Wire::kFixed32);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(bits >> shift));
}

std::string trainer(const SentencePieceFile& file) {
  std::string out;
  put_integer(out, 3, static_cast<std::uint64_t>(file.type));
  put_integer(out, 4, file.pieces.size());
  put_integer(out, 24, file.normalizer.whitespace_as_suffix);
  put_integer(out, 35, file.byte_fallback);
  for (std::size_t i = 0; i < file.pieces.size(); ++i) {
    if (file.pieces[i].kind != PieceKind::kUnknown) continue;
    put_integer(out, 40, i);
    put_bytes(out, 45, file.pieces[i].text);
    break;
  }
  put_bytes(out, 46, file.bos_piece);
  put_bytes(out, 47, file.eos_piece);
  return out;
}

std::string normalizer(const SentencePieceNormalizerConfig& config) {
  std::string out;
  put_bytes(out, 1, config.charsmap.empty() ? "identity" : "user_defined");
  if (!config.charsmap.empty()) put_bytes(out, 2, config.charsmap);
  put_integer(out, 3, config.add_dummy_prefix);
  put_integer(out, 4, config.remove_extra_whitespaces);
  put_integer(out, 5, config.escape_whitespaces);
  return out;
}

}  // namespace

std::string write_sentencepiece_file(const SentencePieceFile& file) {
  std::string out;
  for (const ScoredPiece& piece : file.pieces) {
    std::string entry;
    put_bytes(entry, 1, piece.text);
    put_float(entry, 2, piece.score);
    put_integer(entry, 3, static_cast<std::uint64_t>(piece.kind));
    put_bytes(out, 1, entry);
  }
  put_bytes(out, 2, trainer(file));
  put_bytes(out, 3, normalizer(file.normalizer));
  return out;
}

}  // namespace conclave::text
