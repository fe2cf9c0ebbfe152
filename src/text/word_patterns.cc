#include "text/word_patterns.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/utf8.h"

namespace conclave::text {
namespace {

// The first of its kind (GPT-2): lower-case contractions, a space in front of words and numbers.
constexpr std::string_view kPlain =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// cl100k: contractions in any case, any one character in front of words, numbers of 1 to 3 digits,
// line breaks behind punctuation.
constexpr std::string_view kDigits3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The same with digits one by one.
constexpr std::string_view kDigits1 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// o200k: words end where small letters are followed by capitals; contractions belong to the word.
constexpr std::string_view kCased3 =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The same without contractions, digits one by one.
constexpr std::string_view kCased1 =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// As kCased3, but Chinese characters stand apart.
constexpr std::string_view kCasedHan3 =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kNumbers3 = R"(\p{N}{1,3})";
constexpr std::string_view kNumber = R"(\p{N})";
constexpr std::string_view kNumbers = R"(\p{N}+)";
constexpr std::string_view kHanKana = R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)";
constexpr std::string_view kMarksInWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Line breaks, words of scripts with capitals (cased letters of Unicode 11, as the file lists
// them), punctuation, white space at the end, East Asian text, numbers.
constexpr std::string_view kLineBreak = R"([\r\n])";
constexpr std::string_view kCasedWords =
    R"(\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+)";
constexpr std::string_view kPunctuationWords =
    R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)";
constexpr std::string_view kSpaceAtEnd = R"(\s+$)";
constexpr std::string_view kEastAsian = R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";

// What llama.cpp uses where a file names nothing.
constexpr std::string_view kDefaultPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kThreeDigits = R"([0-9][0-9][0-9])";

struct Named {
  std::vector<std::string_view> names;
  WordPatterns words;
};

const std::vector<Named>& table() {
  static const std::vector<Named> kTable = {
      {{"", "default"}, {{kDefaultPunctuation, kPlain, kNumbers, kThreeDigits}}},
      {{"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
       {{kDigits3}, false, true, true}},
      {{"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, {{kDigits3}}},
      {{"qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"}, {{kDigits1}, true}},
      {{"hunyuan", "solar-open"}, {{kDigits1}}},
      {{"gpt-4o", "llama4", "kanana2"}, {{kCased3}}},
      {{"kimi-k2"}, {{kCasedHan3}}},
      {{"tekken"}, {{kCased1}, false, true, true}},
      {{"deepseek-v3", "hunyuan-dense"}, {{kNumbers3, kHanKana, kMarksInWords}}},
      {{"deepseek-llm"},
       {{kLineBreak, kCasedWords, kPunctuationWords, kSpaceAtEnd, kEastAsian, kNumbers}}},
      {{"deepseek-coder"}, {{kLineBreak, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kEastAsian, kNumber}}},
      {{"gpt-2", "phi-2", "mpt", "jais", "trillion", "granite-docling", "gigachat", "exaone4"},
       {{kPlain}}},
      {{"olmo"}, {{kPlain}, true}},
      {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"},
       {{kNumber, kPlain}}},
      {{"falcon"}, {{R"([\p{P}\$\+<=>\^~\|`]+)", kPlain, kThreeDigits}}},
      {{"bailingmoe", "bailingmoe2", "llada-moe"},
       {{R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"}}},
      {{"seed-coder"},
       {{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
  };
  return kTable;
}

// Every character beyond ASCII, and \uXXXX, as \x{hex}.
std::string plain_escapes(std::string_view pattern) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size();) {
    if (pattern[i] == '\\' && i + 5 < pattern.size() && pattern[i + 1] == 'u') {
      const std::string digits(pattern.substr(i + 2, 4));
      if (digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos) {
        out += fmt::format("\\x{{{:x}}}", std::stoul(digits, nullptr, 16));
        i += 6;
        continue;
      }
    }
    if (static_cast<unsigned char>(pattern[i]) < 0x80) {
      const std::size_t n = pattern[i] == '\\' && i + 1 < pattern.size() ? 2 : 1;
      out += pattern.substr(i, n);
      i += n;
      continue;
    }
    const Utf8Char found = decode_utf8(pattern, i);
    out += fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(found.value));
    i += found.size;
  }
  return out;
}

}  // namespace

const WordPatterns* word_patterns(std::string_view pre) {
  for (const Named& entry : table()) {
    if (std::find(entry.names.begin(), entry.names.end(), pre) != entry.names.end()) {
      return &entry.words;
    }
  }
  return nullptr;
}

std::string_view word_pattern_name(std::span<const std::string> patterns, bool nfc) {
  std::vector<std::string> found;
  for (const std::string& pattern : patterns) found.push_back(plain_escapes(pattern));
  std::string_view other;  // the same patterns, the other normal form
  for (const Named& entry : table()) {
    if (!std::equal(found.begin(), found.end(), entry.words.patterns.begin(),
                    entry.words.patterns.end())) {
      continue;
    }
    const std::string_view name = entry.names.front().empty() ? "default" : entry.names.front();
    if (entry.words.nfc == nfc) return name;
    other = name;
  }
  return other;
}

std::vector<std::string_view> word_pattern_names() {
  std::vector<std::string_view> names;
  for (const Named& entry : table()) {
    for (const std::string_view name : entry.names) {
      if (!name.empty()) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace conclave::text
