// Loads a model, streams a continuation of a prompt, and shows which experts the text used:
//
//   embed MODEL PROMPT            a prompt to continue
//   embed MODEL --ids 3,14,15     token ids, for a model without a tokenizer: scores and routing

#include <conclave/conclave.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::vector<std::int32_t> parse_ids(const std::string& text) {
  std::vector<std::int32_t> ids;
  std::istringstream stream(text);
  for (std::string id; std::getline(stream, id, ',');) ids.push_back(std::stoi(id));
  return ids;
}

void stream_continuation(conclave::Model& model, const std::string& prompt) {
  conclave::GenerateOptions options;
  options.max_tokens = 32;
  options.sampling.temperature = 0.7;
  std::fputs(prompt.c_str(), stdout);
  const conclave::Generation answer = model.generate(prompt, options, [](std::string_view piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
    return true;  // false would stop here
  });
  std::printf("\n%zu tokens, %.1f a second\n", answer.ids.size(),
              static_cast<double>(answer.ids.size()) / std::max(1e-9, answer.decode_seconds));
}

void show_best_token(conclave::Model& model, const std::vector<std::int32_t>& ids) {
  const conclave::Logits logits = model.logits(ids);
  if (logits.rows == 0) return;
  const auto last = logits.row(logits.rows - 1);
  std::printf("most probable next token: %td\n",
              std::max_element(last.begin(), last.end()) - last.begin());
}

void show_experts(const conclave::Routing& routing) {
  for (const conclave::LayerRouting& layer : routing.layers) {
    std::vector<int> uses(static_cast<std::size_t>(layer.n_experts));
    for (const std::int32_t expert : layer.experts_TK) {
      if (expert != conclave::kUnusedSlot) ++uses[static_cast<std::size_t>(expert)];
    }
    std::printf("layer %d:", layer.layer);
    for (const int n : uses) std::printf(" %d", n);
    std::printf("   tokens per expert, %d of %d each\n", layer.k, layer.n_experts);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: embed MODEL PROMPT | embed MODEL --ids 1,2,3\n");
    return 2;
  }
  try {
    conclave::Model model(argv[1]);
    if (std::string(argv[2]) == "--ids" && argc > 3) {
      const std::vector<std::int32_t> ids = parse_ids(argv[3]);
      show_best_token(model, ids);
      show_experts(model.routing(ids));
    } else {
      stream_continuation(model, argv[2]);
      show_experts(model.routing(argv[2]));
    }
  } catch (const conclave::Error& error) {
    std::fprintf(stderr, "embed: %s: %s\n", conclave::error_kind_name(error.kind()), error.what());
    return 1;
  }
  return 0;
}
