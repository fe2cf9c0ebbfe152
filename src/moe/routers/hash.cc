// hash: experts fixed per token id, nothing to learn.
//
// Roller et al. 2021, "Hash Layers For Large Sparse Models", section 3 (random hash): token id v
// always goes to the same k distinct experts, drawn uniformly by a seeded generator; weights are
// scale / k. A baseline that a learnt router should beat, and a router that reproduces perfectly.
//
//   S(v) = k distinct experts of E, a function of (hash_seed, v);  w_e = scale / k
//
// Shape letters: T tokens, E experts, K experts per token.
#include "base/error.h"
#include "base/rng.h"
#include "moe/routers/spec.h"

namespace conclave::moe {
namespace {

constexpr int kMaxHashes = 256;  // drawing is quadratic in k

void validate(const RouterConfig& config) {
  if (!config.renormalize) {
    fail(ErrorKind::kInvalidArgument,
         "router 'hash': renormalize = false: its weights are always scale / k; set renormalize = "
         "true");
  }
  if (config.k > kMaxHashes) {
    fail(ErrorKind::kInvalidArgument, "router 'hash': k = {}: expected 1..{}", config.k,
         kMaxHashes);
  }
}

// Floyd's sampling without replacement: k draws, uniform over subsets. Quadratic in k, which is
// small; ids_K is in the order of drawing.
void hash_experts(const Rng& rng, std::int32_t id, int n, int k, std::int32_t* ids_K) {
  const std::uint64_t first =
      static_cast<std::uint64_t>(static_cast<std::uint32_t>(id)) * static_cast<std::uint64_t>(k);
  for (int i = 0; i < k; ++i) {
    const int limit = n - k + i;
    auto expert = static_cast<std::int32_t>(
        rng.below(first + static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(limit) + 1));
    if (std::find(ids_K, ids_K + i, expert) != ids_K + i) expert = limit;
    ids_K[i] = expert;
  }
}

template <class Real>
void forward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
             RoutingDecisionOf<Real>& decision) {
  for (std::size_t t = 0; t < input.ids_T.size(); ++t) {
    if (input.ids_T[t] < 0) {
      fail(ErrorKind::kInvalidArgument,
           "router 'hash': token id {} at token {}: ids must not be negative", input.ids_T[t], t);
    }
  }
  constexpr std::uint64_t kStream = 0x68617368;  // "hash": not the stream of anything else
  const Rng rng(config.hash_seed, kStream);
  const int k = config.k;
  const auto body = [&](std::int32_t t, Real*) {
    hash_experts(rng, input.ids_T[static_cast<std::size_t>(t)], config.n_experts, k,
                 decision.topk_ids_TK.data() + std::int64_t{t} * k);
    std::fill_n(decision.topk_weights_TK.data() + std::int64_t{t} * k, k,
                static_cast<Real>(config.scale / k));
    return true;
  };
  for_each_token<Real>(context, input.n_tokens, 0, body);
}

template <class Real>
void backward(ops::Context&, const RouterConfig&, const RouterInputOf<Real>&,
              const RoutingDecisionOf<Real>&, const RouterGradientsOf<Real>&) {}

}  // namespace

extern const RouterSpec hash_router;
constinit const RouterSpec hash_router = {
    .traits = {.name = "hash",
               .citation = "Roller et al. 2021 (Hash Layers), sec. 3",
               .equation = "S = k experts drawn by (hash_seed, token id), w = 1 / k",
               .use_when = "A baseline without a learnt router; reproducible to the bit",
               .needs_logits = false,
               .needs_ids = true,
               .supports_bias = false,
               .supports_groups = false},
    .set_defaults = nullptr,
    .validate = validate,
    .slots = nullptr,
    .f32 = {forward<float>, backward<float>},
    .f64 = {forward<double>, backward<double>}};

}  // namespace conclave::moe
