#include "text/sentencepiece_file.h"

#include <bit>
#include <cstring>

#include "base/error.h"
#include "text/vocabulary.h"

namespace conclave::text {
namespace {

// The wire format (protobuf.dev, "Encoding"): keys (field << 3 | wire type) and values; integers
// are in base 128, least significant first; strings and messages have their length in front.
class MessageReader {
 public:
  MessageReader(std::string_view bytes, std::size_t offset) : bytes_(bytes), offset_(offset) {}

  // The next field, or false at the end of the message.
  bool next() {
    if (at_ == bytes_.size()) return false;
    const std::uint64_t key = varint();
    field_ = key >> 3;
    if (field_ == 0) wrong("a field number 0");
    switch (key & 7) {
      case 0:
        kind_ = Kind::kInteger;
        number_ = varint();
        break;
      case 1:
        kind_ = Kind::kFixed64;
        take(8);
        break;
      case 2: {
        kind_ = Kind::kBytes;
        const std::uint64_t size = varint();
        if (size > bytes_.size() - at_) wrong("a length beyond the end");
        take(static_cast<std::size_t>(size));
        break;
      }
      case 5:
        kind_ = Kind::kFixed32;
        take(4);
        break;
      default:
        wrong("a wire type that is not known");
    }
    return true;
  }

  std::uint64_t field() const { return field_; }
  std::uint64_t integer() const {
    if (kind_ != Kind::kInteger) wrong("another type than an integer");
    return number_;
  }
  bool boolean() const { return integer() != 0; }
  float number() const {
    if (kind_ != Kind::kFixed32) wrong("another type than a 32-bit number");
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      bits |= static_cast<std::uint32_t>(static_cast<unsigned char>(value_[i])) << 8 * i;
    }
    return std::bit_cast<float>(bits);
  }
  std::string_view bytes() const {
    if (kind_ != Kind::kBytes) wrong("another type than a string or message");
    return value_;
  }
  MessageReader message() const {
    const std::string_view value = bytes();
    return {value, offset_ + at_ - value.size()};
  }

  [[noreturn]] void wrong(std::string_view found) const {
    fail(ErrorKind::kBadFile,
         "at byte {}: found {}; this is not a SentencePiece model, or it is damaged", offset_ + at_,
         found);
  }

 private:
  enum class Kind { kInteger, kFixed64, kBytes, kFixed32 };

  void take(std::size_t size) {
    if (size > bytes_.size() - at_) wrong("the end inside a value");
    value_ = bytes_.substr(at_, size);
    at_ += size;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) wrong("the end inside an integer");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7fu) << shift;
      if (byte < 0x80) return value;
    }
    wrong("an integer of more than ten bytes");
  }

  std::string_view bytes_;
  std::size_t offset_;
  std::size_t at_ = 0;
  std::uint64_t field_ = 0;
  Kind kind_ = Kind::kInteger;
  std::uint64_t number_ = 0;
  std::string_view value_;
};

ScoredPiece parse_piece(MessageReader reader) {
  ScoredPiece piece;
  while (reader.next()) {
    if (reader.field() == 1) piece.text = reader.bytes();
    if (reader.field() == 2) piece.score = reader.number();
    if (reader.field() == 3) {
      const std::uint64_t kind = reader.integer();
      if (kind < 1 || kind > 6) reader.wrong("a kind of token that is not known");
      piece.kind = static_cast<PieceKind>(kind);
    }
  }
  return piece;
}

void parse_trainer(MessageReader reader, SentencePieceFile& file) {
  while (reader.next()) {
    switch (reader.field()) {
      case 3: {
        const std::uint64_t type = reader.integer();
        if (type < 1 || type > 4) reader.wrong("a kind of model that is not known");
        file.type = static_cast<SentencePieceType>(type);
        break;
      }
      case 24:
        file.normalizer.whitespace_as_suffix = reader.boolean();
        break;
      case 35:
        file.byte_fallback = reader.boolean();
        break;
      case 46:
        file.bos_piece = reader.bytes();
        break;
      case 47:
        file.eos_piece = reader.bytes();
        break;
      default:
        break;
    }
  }
}

void parse_normalizer(MessageReader reader, SentencePieceNormalizerConfig& config) {
  while (reader.next()) {
    if (reader.field() == 2) config.charsmap = reader.bytes();
    if (reader.field() == 3) config.add_dummy_prefix = reader.boolean();
    if (reader.field() == 4) config.remove_extra_whitespaces = reader.boolean();
    if (reader.field() == 5) config.escape_whitespaces = reader.boolean();
  }
}

}  // namespace

SentencePieceFile parse_sentencepiece_file(std::string_view bytes) {
  SentencePieceFile file;
  MessageReader reader(bytes, 0);
  while (reader.next()) {
    if (reader.field() == 1) {
      if (file.pieces.size() >= static_cast<std::size_t>(kMaxVocabulary)) {
        reader.wrong("more tokens than are supported");
      }
      file.pieces.push_back(parse_piece(reader.message()));
      if (file.pieces.back().text.empty()) reader.wrong("a token without text");
    }
    if (reader.field() == 2) parse_trainer(reader.message(), file);
    if (reader.field() == 3) parse_normalizer(reader.message(), file.normalizer);
  }
  if (file.pieces.empty()) reader.wrong("no tokens");
  return file;
}

// The first field of every such file is a token: a message (field 1) whose first field is a string
// (field 1); text does not begin with these bytes.
bool looks_like_sentencepiece(std::string_view bytes) {
  return bytes.size() > 4 && bytes[0] == 0x0a && bytes[2] == 0x0a &&
         static_cast<unsigned char>(bytes[1]) < 0x80;
}

}  // namespace conclave::text
