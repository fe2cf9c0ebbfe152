// What leaves the installed API is conclave::Error, whatever the standard library throws inside.
#pragma once

#include <filesystem>
#include <new>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace conclave::api {

template <class Body>
decltype(auto) guarded(Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::kOutOfMemory, "out of memory: use a shorter sequence or a smaller model");
  } catch (const std::length_error&) {
    fail(ErrorKind::kOutOfMemory, "the result is larger than any memory: use a shorter sequence");
  } catch (const std::filesystem::filesystem_error& error) {
    fail(ErrorKind::kIo, "{}", error.what());
  }
}

}  // namespace conclave::api
