// Tokenizer from a tokenizer.json.
#include "base/error.h"
#include "text/tokenizer.h"
#include "text/tokenizer_build.h"

namespace conclave::text {

Tokenizer Tokenizer::from_json_text(std::string_view json, std::string_view name) {
  return load_named(std::string(name), [&] {
    const StatePtr state = build_from_file(parse_tokenizer_file(json));
    state->finish();
    return Tokenizer(state);
  });
}

}  // namespace conclave::text
