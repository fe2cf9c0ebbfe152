#include "serve/api_error.h"

#include <nlohmann/json.hpp>

namespace conclave::serve {

using nlohmann::json;

ApiError bad_request(std::string message, std::string param, std::string code) {
  return {.code = std::move(code), .message = std::move(message), .param = std::move(param)};
}

ApiError overloaded(std::string message, int retry_after) {
  return {.status = 503,
          .type = "server_error",
          .code = "server_is_overloaded",
          .message = std::move(message),
          .param = {},
          .retry_after = retry_after};
}

// Another code than overload: a client that knows of another server had better go there.
ApiError shutting_down() {
  ApiError error = overloaded("the server is shutting down", 5);
  error.code = "server_is_shutting_down";
  return error;
}

ApiError server_error(std::string message) {
  return {.status = 500,
          .type = "server_error",
          .code = "internal_error",
          .message = std::move(message),
          .param = {}};
}

std::string error_body(const ApiError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? json() : json(text); };
  const json body = {{"error",
                      {{"message", error.message},
                       {"type", error.type},
                       {"param", or_null(error.param)},
                       {"code", or_null(error.code)}}}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response{.status = error.status, .headers = {}, .body = error_body(error)};
  if (error.retry_after > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  }
  if (!error.allow.empty()) response.headers.emplace_back("Allow", error.allow);
  return response;
}

}  // namespace conclave::serve
