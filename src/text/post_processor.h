// Post-processors: the special tokens around the ids of a text.
#pragma once

#include <cstdint>
#include <vector>

#include "text/json_view.h"

namespace conclave::text {

// Templates that are applied one after the other; in each, a part without ids stands for the ids so
// far.
struct PostProcessor {
  struct Part {
    bool sequence = false;
    std::vector<std::int32_t> ids;
  };
  std::vector<std::vector<Part>> templates;

  void apply(bool add_special, std::vector<std::int32_t>& ids) const;
};

// From a "post_processor" object, or null for none. Throws Error(kBadFile), or (kUnsupported).
PostProcessor make_post_processor(const JsonView& config);

}  // namespace conclave::text
