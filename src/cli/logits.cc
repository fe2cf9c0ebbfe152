// conclave logits: raw scores of a token sequence, for comparison with other implementations.

#include <cstdio>

#include "base/error.h"
#include "cli/verbs.h"
#include "infer/session.h"
#include "io/npy.h"

namespace conclave::cli {
namespace {

struct Options {
  std::string model, out;
  std::vector<std::int32_t> ids;
  MachineOptions machine;
};

void write_logits(const Options& options) {
  ops::Context context = options.machine.context();
  infer::Session session(context, options.model, options.machine.precision(options.model));
  const FloatMatrix logits = session.logits(options.ids);
  io::write_npy(options.out, logits.view());
  std::fprintf(stderr, "%s: float32 [%lld, %lld]\n", options.out.c_str(),
               static_cast<long long>(logits.view().rows),
               static_cast<long long>(logits.view().cols));
}

}  // namespace

void add_logits(CLI::App& app) {
  auto o = std::make_shared<Options>();
  o->machine.dtype = "f32";  // for comparison with other implementations: exact
  CLI::App* command = app.add_subcommand("logits", "write the logits of a token sequence as .npy");
  command->add_option("MODEL", o->model, "model directory or GGUF file")->required();
  command->add_option("--ids", o->ids, "token ids, separated by commas")
      ->required()
      ->delimiter(',')
      ->check([](const std::string& id) { return std::string(id.empty() ? "empty" : ""); }, "");
  command->add_option("--out", o->out, ".npy file, float32 [tokens, vocabulary]")->required();
  o->machine.add_to(*command);
  command->footer("Example:\n  conclave logits my-model --ids 1,2,3 --out logits.npy");
  command->callback([o] { write_logits(*o); });
}

}  // namespace conclave::cli
