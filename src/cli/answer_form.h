// --json-schema and --grammar of the verbs that generate: what an answer is held to.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "infer/session.h"

namespace conclave::cli {

struct AnswerForm {
  std::string schema_file, grammar_file;

  void add_to(CLI::App& command);
  // Sets options.constraint. Throws Error: kNotFound, kIo, kBadFile, kInvalidArgument naming the
  // file.
  void apply(infer::Session& session, infer::GenerateOptions& options) const;
};

}  // namespace conclave::cli
