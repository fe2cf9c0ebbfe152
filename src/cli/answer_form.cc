#include "cli/answer_form.h"

#include "base/error.h"
#include "infer/grammar/gbnf.h"
#include "io/json_tree.h"
#include "sys/files.h"

namespace conclave::cli {

void AnswerForm::add_to(CLI::App& command) {
  CLI::Option* const schema = command.add_option("--json-schema", schema_file,
                                                 "the answer is JSON of this schema (a file)");
  command
      .add_option("--grammar", grammar_file, "the answer is a text of this grammar (a file, GBNF)")
      ->excludes(schema);
}

void AnswerForm::apply(infer::Session& session, infer::GenerateOptions& options) const {
  if (!schema_file.empty()) {
    const io::JsonTree tree =
        io::JsonTree::parse(sys::read_file(schema_file, 4u << 20), schema_file);
    const infer::grammar::TokensPtr tokens = session.grammar_tokens();
    with_context(schema_file, [&] {
      options.constraint = constrain_to_schema(tree, io::JsonTree::kRoot, tokens);
    });
  }
  if (!grammar_file.empty()) {
    const std::string text = sys::read_file(grammar_file, 4u << 20);
    const infer::grammar::TokensPtr tokens = session.grammar_tokens();
    with_context(grammar_file, [&] { options.constraint = constrain_to_grammar(text, tokens); });
  }
}

}  // namespace conclave::cli
