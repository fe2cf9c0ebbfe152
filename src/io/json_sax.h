// The event parser behind json.h, for readers that should not build a tree of a 100 MB header.
// Include only from .cc files: it pulls in the JSON library.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/json.h"

namespace conclave::io {

// Receives the events of one document. Depth is counted here: the top-level value has depth 0, the
// members of a top-level object depth 1. A handler reports what it does not like with refuse().
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool start_object(std::size_t) final { return descend() && on_start(true); }
  bool start_array(std::size_t) final { return descend() && on_start(false); }
  bool end_object() final { return --depth_ >= 0 && on_end(); }
  bool end_array() final { return --depth_ >= 0 && on_end(); }
  bool binary(binary_t&) final { return refuse("binary value"); }
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::json::exception& error) final;

  // A container begins or ends; depth() is already, or again, that of its members or of itself.
  virtual bool on_start(bool is_object) = 0;
  virtual bool on_end() = 0;

 protected:
  int depth() const { return depth_; }
  bool refuse(std::string message);

 private:
  friend void parse_json_events(std::string_view, const std::string&, const JsonLimits&,
                                JsonEvents&);
  bool descend();

  int depth_ = 0;
  int max_depth_ = 0;
  std::string error_;
};

// Throws Error(kBadFile) where the text is not JSON, breaks a limit, or was refused.
void parse_json_events(std::string_view text, const std::string& file_name,
                       const JsonLimits& limits, JsonEvents& events);

}  // namespace conclave::io
