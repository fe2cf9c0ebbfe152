#include "moe/routers/registry.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"

// One line per router: file routers/NAME.cc defines conclave::moe::NAME_router.
#define CONCLAVE_ROUTERS(ROUTER) \
  ROUTER(softmax_topk)           \
  ROUTER(switch_top1)            \
  ROUTER(noisy_topk)             \
  ROUTER(sigmoid_bias)           \
  ROUTER(sparsemixer)            \
  ROUTER(expert_choice)          \
  ROUTER(hash)

namespace conclave::moe {

#define CONCLAVE_DECLARE_ROUTER(NAME) extern const RouterSpec NAME##_router;
CONCLAVE_ROUTERS(CONCLAVE_DECLARE_ROUTER)
#undef CONCLAVE_DECLARE_ROUTER

namespace {

#define CONCLAVE_LIST_ROUTER(NAME) &NAME##_router,
constexpr const RouterSpec* kRouters[] = {CONCLAVE_ROUTERS(CONCLAVE_LIST_ROUTER)};
#undef CONCLAVE_LIST_ROUTER

// Levenshtein distance. `name` may come from a file: callers bound its length.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::span<const RouterSpec* const> router_specs() { return kRouters; }

const RouterSpec& find_router(std::string_view kind) {
  for (const RouterSpec* spec : kRouters) {
    if (spec->traits.name == kind) return *spec;
  }
  constexpr std::size_t kShown = 64;
  const std::string_view shown = kind.substr(0, kShown);
  std::string known;
  std::string_view nearest;
  std::size_t best = shown.size();  // a suggestion shares at least something with the name
  for (const RouterSpec* spec : kRouters) {
    known += (known.empty() ? "" : ", ") + std::string(spec->traits.name);
    const std::size_t distance = edit_distance(shown, spec->traits.name);
    if (distance < best) {
      best = distance;
      nearest = spec->traits.name;
    }
  }
  fail(ErrorKind::kInvalidArgument, "router '{}': no such router{}; known: {}", shown,
       nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest), known);
}

}  // namespace conclave::moe
