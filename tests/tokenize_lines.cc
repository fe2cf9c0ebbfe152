// Reads texts from standard input, one a line as hexadecimal digits, and prints the ids of each on
// a line, or "! message". For scripts/compare_tokenizers.py.
//   tokenize_lines TOKENIZER [special] [add] [kind=NAME] [pattern=REGEX]
//   special: special tokens in the text count; add: those of the post-processor are added;
//   kind, pattern: of a tiktoken file.
#include <cstdio>
#include <iostream>
#include <string>

#include "base/error.h"
#include "text/tokenizer.h"

namespace {

using conclave::text::EncodeOptions;
using conclave::text::TiktokenOptions;
using conclave::text::Tokenizer;

std::string from_hex(const std::string& line) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < line.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

void run(const Tokenizer& tokenizer, EncodeOptions options) {
  for (std::string line; std::getline(std::cin, line);) {
    std::string out;
    try {
      for (const std::int32_t id : tokenizer.encode(from_hex(line), options)) {
        out += std::to_string(id) + " ";
      }
    } catch (const conclave::Error& error) {
      out = "! " + error.message();
    }
    std::puts(out.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  EncodeOptions options{false, false};
  TiktokenOptions tiktoken;
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "special") options.parse_special = true;
    if (word == "add") options.add_special = true;
    if (word.starts_with("kind=")) tiktoken.kind = word.substr(5);
    if (word.starts_with("pattern=")) tiktoken.pattern = word.substr(8);
  }
  try {
    const bool by_hand = !tiktoken.kind.empty() || !tiktoken.pattern.empty();
    run(by_hand ? Tokenizer::from_tiktoken(argv[1], tiktoken) : Tokenizer::load(argv[1]), options);
  } catch (const conclave::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
