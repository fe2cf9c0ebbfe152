// conclave: the command line. One verb a file; this one collects them and turns errors into a line
// on stderr and an exit code (0 fine, 1 error, 2 wrong usage, 130 interrupted).

#include <csignal>
#include <cstdio>
#include <new>

#include "base/error.h"
#include "cli/verbs.h"
#include "io/nearest_name.h"
#include "sys/cpu.h"

namespace {

// A first word that is no verb: CLI11 would only say that a verb is missing.
bool refuse_unknown_verb(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return false;
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (verb->get_name() == argv[1]) return false;
    verbs.push_back(verb->get_name());
  }
  const std::string word = std::string(argv[1]).substr(0, 100);
  std::fprintf(stderr, "conclave: unknown verb '%s'%s\nThe verbs are: %s\n", word.c_str(),
               conclave::io::did_you_mean(word, verbs).c_str(),
               fmt::format("{}", fmt::join(verbs, ", ")).c_str());
  return true;
}

int run(int argc, char** argv) {
  using namespace conclave;
  CLI::App app{
      "Conclave: train, inspect and run mixture-of-experts models on the computer you have.",
      "conclave"};
  app.set_version_flag("--version", std::string("conclave ") + CONCLAVE_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Examples:\n"
      "  conclave train recipes/demo.toml --out my-model\n"
      "  conclave run my-model --prompt \"Once upon a time\"\n"
      "  conclave inspect my-model --data french=fr.txt --data code=main.c --out report.html\n"
      "Help of a verb: conclave VERB --help");
  cli::add_train(app);
  cli::add_run(app);
  cli::add_eval(app);
  cli::add_inspect(app);
  cli::add_info(app);
  cli::add_logits(app);
  cli::add_tokenize(app);
  cli::add_chat(app);
  cli::add_template(app);
  cli::add_convert(app);
  cli::add_quantize(app);
  cli::add_serve(app);
  cli::add_bench(app);
  cli::add_completion(app);
  if (refuse_unknown_verb(app, argc, argv)) return cli::kExitUsage;
  try {
    sys::best_isa();  // refuses a wrong CONCLAVE_ISA here and not in a thread
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : cli::kExitUsage;
  } catch (const cli::Exit& exit) {
    return exit.code;
  } catch (const Error& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "conclave: %s: %s\n", error_kind_name(error.kind()), error.what());
    return error.kind() == ErrorKind::kInterrupted ? cli::kExitInterrupted : cli::kExitError;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "conclave: out of memory\n");
    return cli::kExitError;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "conclave: %s\n", error.what());
    return cli::kExitError;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is an error of the write, not a death
  return run(argc, argv);
}
