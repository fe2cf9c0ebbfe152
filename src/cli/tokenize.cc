// conclave tokenize: text to token ids and back.

#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/verbs.h"
#include "io/text_files.h"
#include "sys/files.h"
#include "text/tokenizer.h"

namespace conclave::cli {
namespace {

constexpr std::uint64_t kMaxText = std::uint64_t{1} << 31;

struct Options {
  std::string model, text, file;
  std::vector<std::int32_t> decode;
  bool given = false, json = false, special = false;
};

void tokenize(const Options& o) {
  if (!o.given) fail(ErrorKind::kInvalidArgument, "give one of --text, --file and --decode");
  const text::Tokenizer tokenizer = text::Tokenizer::load(o.model);
  if (!o.decode.empty()) {
    for (const std::int32_t id : o.decode) {
      if (id < 0 || id >= tokenizer.vocab_size()) {
        fail(ErrorKind::kInvalidArgument, "--decode: found {}, expected ids from 0 to {}", id,
             tokenizer.vocab_size() - 1);
      }
    }
    const std::string text = tokenizer.decode(o.decode) + "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);  // zero bytes too
    return;
  }
  std::string input = o.text;
  if (!o.file.empty()) {
    input = o.file == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {})
                          : sys::read_file(o.file, kMaxText);
  }
  const auto ids = tokenizer.encode(input, {.add_special = o.special, .parse_special = o.special});
  if (o.json) {
    std::printf("%s\n", nlohmann::json({{"ids", ids}}).dump().c_str());
    return;
  }
  for (std::int32_t id : ids) {
    std::printf("%8d  %s\n", id, std::string(tokenizer.token_text(id)).c_str());
  }
  std::fprintf(stderr, "%zu bytes, %zu tokens\n", input.size(), ids.size());
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("tokenize", "show how a model cuts text into tokens");
  command->add_option("MODEL", o->model, "model directory, GGUF file, or a tokenizer.json")
      ->required();
  command->add_option("--text", o->text, "text to encode");
  command->add_option("--file", o->file, "file to encode; - reads standard input");
  command->add_option("--decode", o->decode, "ids to turn into text, separated by commas")
      ->delimiter(',');
  command->add_flag("--special", o->special,
                    "recognise special tokens and add those the model expects");
  command->add_flag("--json", o->json, "print {\"ids\": [...]}");
  command->footer("Example:\n  conclave tokenize my-model --text \"Bonjour le monde\"");
  command->callback([o, command] {
    const auto given = [&](const char* name) { return command->count(name) > 0 ? 1 : 0; };
    o->given = given("--text") + given("--file") + given("--decode") == 1;
    tokenize(*o);
  });
}

}  // namespace conclave::cli
