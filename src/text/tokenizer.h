// Text to token ids and back, for the tokenizers that published models ship: Hugging Face
// tokenizer.json, SentencePiece .model files, tiktoken files, GGUF metadata. Ids are those that the
// reference libraries (`tokenizers`, `sentencepiece`, `tiktoken`) give for the same file and text.
//
// A Tokenizer never changes after loading, is cheap to copy (copies share one state) and may be
// used by any number of threads at once. Encoding takes O(n log n) time for n bytes of any input,
// never recurses on it, and accepts any bytes. Bytes that are not UTF-8 keep their values where the
// vocabulary has bytes, are U+FFFD (one each) in SentencePiece models, as in the library, and match
// no pattern of a pre-tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::io {
class GgufMetadata;
}

namespace conclave::text {

namespace detail {
struct TokenizerState;
}

struct EncodeOptions {
  // Adds what the file's post-processor adds (<s>, </s>, [CLS], ...).
  bool add_special = true;
  // Lets special tokens that are spelled out in the text ("<|im_end|>") become their ids. Off for
  // text from users: there they are plain characters. Added tokens that are not special are always
  // recognised.
  bool parse_special = false;
};

// A part of a text with its own trust.
struct TextPart {
  std::string_view text;
  bool parse_special = false;
};

// What a tiktoken file does not hold.
struct TiktokenOptions {
  // A published tokenizer: "cl100k", "o200k", "o200k_harmony", "kimi-k2", "qwen", "hunyuan",
  // "glm4", "llama3", "llama4", "gpt2", "p50k". Empty: told from the name of the file, or the
  // number of its tokens.
  std::string kind;
  // The pattern that cuts text into words, instead of the kind's (Oniguruma's syntax).
  std::string pattern;
  // Instead of the kind's.
  std::vector<std::pair<std::string, std::int32_t>> special_tokens;
};

class Tokenizer {
 public:
  // Reads a file, by its content, or what a directory has: tokenizer.json, else tokenizer.model or
  // tiktoken.model or spiece.model (SentencePiece or tiktoken), else the one *.tiktoken. For the
  // latter the added tokens of the directory's tokenizer_config.json, special_tokens_map.json and
  // added_tokens.json count, too. A .gguf file gives the tokenizer in its metadata. Truncation and
  // padding of tokenizer.json are not applied. Throws Error: kNotFound, kIo, kBadFile (broken file,
  // missing or wrong keys, ids out of range), kUnsupported (a component that is not known).
  static Tokenizer load(const std::filesystem::path& path);
  // A SentencePiece .model file: unigram, BPE and character models. Text gets the ids that the
  // library gives (user-defined tokens are the model's business); control tokens are special, and
  // <s> comes in front with add_special where the file has it.
  static Tokenizer from_sentencepiece(const std::filesystem::path& path);
  // A file of base64 tokens and ranks. Ids are those of tiktoken's encode_ordinary() with the same
  // pattern; text that is not UTF-8 keeps its bytes.
  static Tokenizer from_tiktoken(const std::filesystem::path& path,
                                 const TiktokenOptions& options = {});
  // From the tokenizer.ggml.* keys of a GGUF file. Kinds: llama (SentencePiece BPE), gpt2
  // (byte-level BPE by tokenizer.ggml.pre), t5 (unigram), bert (WordPiece).
  static Tokenizer from_gguf(const io::GgufMetadata& metadata);
  // The same from the text of a tokenizer.json; `name` stands for the file in error messages.
  static Tokenizer from_json_text(std::string_view json, std::string_view name = "tokenizer.json");

  // Throws Error(kUnsupported) only where the file's own pre-tokenizer pattern backtracks beyond
  // its budget on this text, and Error(kInvalidArgument) for texts of 2^31 - 1 bytes or more.
  std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options = {}) const;

  // Encodes the parts joined, as if they were one text with parse_special, except that special
  // tokens are recognised only where they lie within parts that have parse_special (neighbouring
  // ones count as one): content of a message never becomes a control token, neither by itself nor
  // together with what stands next to it. Throws as encode() does, and Error(kInvalidArgument)
  // where telling the parts apart behind a normalizer takes too long (hundreds of parts in hundreds
  // of megabytes, and special tokens that are looked for in normalized text).
  std::vector<std::int32_t> encode_parts(std::span<const TextPart> parts,
                                         bool add_special = false) const;

  // The text of the ids, by the file's decoder. Ids that do not exist give nothing. For byte-level
  // vocabularies the result may break off inside a UTF-8 character; see StreamDecoder.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;

  // Largest id + 1, counting added tokens; ids in between may be unused.
  std::int32_t vocab_size() const;
  // The token as the vocabulary spells it ("\u0120the", "\u2581the", "<0x0A>"), empty for unused
  // ids.
  std::string_view token_text(std::int32_t id) const;
  // The bytes that the token stands for in running text (" the", "\n"), empty for unused ids.
  std::string_view token_bytes(std::int32_t id) const;
  // The id of a token by its vocabulary spelling, added tokens first.
  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  // True for added tokens that are marked special.
  bool is_special(std::int32_t id) const;

  explicit Tokenizer(std::shared_ptr<const detail::TokenizerState> state);

 private:
  friend class StreamDecoder;
  std::shared_ptr<const detail::TokenizerState> state_;
};

// Decodes ids one by one as they are generated. The pieces joined are decode() of all ids, except
// that a piece never ends inside a UTF-8 character: bytes of an unfinished character are held back
// until it is complete (or cannot become one), and bytes that are not UTF-8 come out as U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer, bool skip_special = false);

  // The text that this id completes, often empty. Always valid UTF-8.
  std::string push(std::int32_t id);
  // What is still held back (an unfinished character gives U+FFFD); ready for a new text
  // afterwards.
  std::string flush();

 private:
  void append(std::int32_t id, bool last);
  void restart();

  Tokenizer tokenizer_;
  bool skip_special_;
  // The decoder edits the whole text in a way that needs all of it: everything comes from flush().
  bool hold_all_ = false;
  bool first_ = true;
  std::int32_t held_id_ = -1;  // for decoders that treat the last token differently
  int to_strip_ = 0;           // characters that may still be taken off the beginning
  std::string pending_;
};

}  // namespace conclave::text
