// `conclave serve`: loads a model, serves it until a signal comes, and then lets the accepted
// requests finish.
#pragma once

#include "models/model_files.h"
#include "serve/options.h"

namespace conclave::serve {

// Prints the address to standard output once it listens and the model is loaded. Returns after a
// drain. Throws Error: what loading throws, kInvalidArgument, kIo.
void serve(ops::Context& context, const std::string& model, const models::Precision& precision,
           const ServerOptions& options);
// Everything up to loading the weights: options, files, tokenizer, template. Throws as serve().
void check(const std::string& model, const ServerOptions& options);

}  // namespace conclave::serve
