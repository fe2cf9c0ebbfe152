// Tokenizer from a path: chooses by what is there.
#include <array>

#include "base/error.h"
#include "io/gguf.h"
#include "sys/files.h"
#include "text/model_folder.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizer.h"
#include "text/tokenizer_build.h"

namespace conclave::text {
namespace {

// In order of preference; names ending in .tiktoken come after these.
constexpr std::array<const char*, 4> kNames = {"tokenizer.json", "tokenizer.model",
                                               "tiktoken.model", "spiece.model"};

std::string find_in(const std::string& directory) {
  for (const char* name : kNames) {
    const std::string path = sys::join_path(directory, name);
    if (sys::file_exists(path)) return path;
  }
  std::string found;
  for (const std::string& name : sys::list_directory(directory)) {
    if (!name.ends_with(".tiktoken")) continue;
    if (!found.empty()) {
      fail(ErrorKind::kInvalidArgument, "'{}' has two tokenizers, '{}' and '{}'; name the file",
           directory, sys::base_name(found), name);
    }
    found = sys::join_path(directory, name);
  }
  if (found.empty()) {
    fail(ErrorKind::kNotFound,
         "'{}' has no tokenizer: none of tokenizer.json, tokenizer.model, tiktoken.model, "
         "spiece.model, *.tiktoken",
         directory);
  }
  return found;
}

Tokenizer load_by_content(const std::string& path, bool in_folder) {
  const std::string bytes = sys::read_file(path, kMaxTokenizerBytes);
  const std::size_t first = bytes.find_first_not_of(" \t\r\n");
  if (path.ends_with(".json") || (first != std::string::npos && bytes[first] == '{')) {
    return Tokenizer::from_json_text(bytes, path);
  }
  return load_named(path, [&] {
    FolderTokens folder;
    if (in_folder) folder = read_folder_tokens(sys::parent_path(path));
    if (looks_like_sentencepiece(bytes)) return tokenizer_from_sentencepiece(bytes, folder);
    return tokenizer_from_tiktoken(bytes, path, {}, folder);
  });
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  const std::string name = path.string();
  if (sys::directory_exists(name)) return load_by_content(find_in(name), true);
  if (name.ends_with(".gguf")) return from_gguf(io::GgufSource(name).metadata());
  return load_by_content(name, false);
}

}  // namespace conclave::text
