#include "text/jinja/runtime.h"

namespace conclave::text::jinja {

void Runtime::raise(ErrorKind kind, const std::string& message) const {
  fail(kind, "{}, line {}, column {}: {}", name_, position.line, position.column, message);
}

void Runtime::out_of_steps() const {
  unsupported("the template takes more than {} steps; raise the budget if it is meant to",
              budget_.steps);
}

void Runtime::out_of_memory() const {
  raise(ErrorKind::kOutOfMemory,
        fmt::format("the template makes more than {} bytes of values; raise the budget if it is "
                    "meant to",
                    budget_.made_bytes));
}

void Runtime::out_of_output() const {
  raise(ErrorKind::kOutOfMemory, fmt::format("the rendered text is longer than {} bytes; raise "
                                             "the budget if it is meant to be",
                                             budget_.output_bytes));
}

void Runtime::too_deep() const {
  unsupported("macros and expressions nest deeper than {} levels", budget_.depth);
}

void Runtime::too_deep_value() const {
  unsupported("lists and dicts nest deeper than {} levels", kMaxValueDepth);
}

}  // namespace conclave::text::jinja
