// Errors as OpenAI's clients know them: status, type, code and the field that is wrong. Their
// clients retry 408, 409, 429 and 5xx, after Retry-After where it is there.
#pragma once

#include <string>

#include "serve/http/exchange.h"

namespace conclave::serve {

struct ApiError {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string code;  // empty: null
  std::string message;
  std::string param;       // the field, empty: null
  int retry_after = 0;     // seconds; 0: not said
  std::string allow = {};  // methods, for the header of that name; empty: not said
};

ApiError bad_request(std::string message, std::string param = "", std::string code = "");
ApiError overloaded(std::string message, int retry_after);
ApiError shutting_down();
ApiError server_error(std::string message);

// {"error": {...}}
std::string error_body(const ApiError& error);
HttpResponse error_response(const ApiError& error);

}  // namespace conclave::serve
