// The names of fields that a request may have. OpenAI refuses names that it does not know, and so
// does this server: a misspelled `max_token` or another server's `min_tokens` would otherwise
// change nothing, without a word.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

namespace conclave::serve {

enum class RequestKind : std::uint8_t { kChat, kCompletion, kEmbedding, kTokenize, kDetokenize };

// Throws ApiError 400: `unknown_parameter` for a name that is none, `unsupported_parameter` for one
// of OpenAI's whose meaning this server cannot give. What changes nothing about an answer here
// (user, metadata, store, service_tier, ...) passes. null counts as absent, of
// names that are known.
void check_field_names(const nlohmann::json& body, RequestKind kind);

}  // namespace conclave::serve
