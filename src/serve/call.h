// A request on its way to its answer: its id, and what the log says at the end.
#pragma once

#include "serve/service.h"

namespace conclave::serve {

struct Service::Call {
  Call(Service& s, std::shared_ptr<Exchange> e) : service(s), exchange(std::move(e)) {}

  // On the I/O thread; the first answer counts.
  void respond(HttpResponse response) {
    response.headers.emplace_back("X-Request-Id", id);
    const int status = response.status;
    exchange->respond(std::move(response));
    finish(status);
  }
  void respond(const ApiError& error) {
    notes = "error=" + (error.code.empty() ? error.type : error.code);
    respond(error_response(error));
  }
  void respond_json(std::string body) {
    respond(HttpResponse{.headers = {}, .body = std::move(body)});
  }
  void finish(int status) {
    if (!std::exchange(done, true)) service.finished(*this, status, notes);
  }

  Service& service;
  std::shared_ptr<Exchange> exchange;
  std::string id, path, method;
  std::string client;    // who asks
  bool counted = false;  // among the client's requests under way
  Clock::time_point begun = Clock::now();
  std::string notes;  // for the log
  bool done = false;
};

}  // namespace conclave::serve
