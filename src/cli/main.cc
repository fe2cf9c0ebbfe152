// conclave: the command line. One verb a file; this one collects them and turns errors into a line
// on stderr and an exit code (0 fine, 1 error, 2 wrong usage, 130 interrupted).

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
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

// The option that was meant: the nearest spelling, else the one that begins alike (--repetitions
// for --repeat) for at least three letters.
std::string meant_option(std::string_view word, const CLI::App& verb) {
  constexpr std::size_t kDashesAndThree = 5;
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  std::string meant = conclave::io::nearest_name(word, names);
  if (!meant.empty()) return meant;
  std::size_t alike = kDashesAndThree - 1;
  for (const std::string& name : names) {
    const auto end = std::mismatch(word.begin(), word.end(), name.begin(), name.end()).first;
    const auto same = static_cast<std::size_t>(end - word.begin());
    if (same <= alike) continue;
    alike = same;
    meant = name;
  }
  return meant;
}

// A word that the verb does not know, with what was meant: CLI11 would only say that it is there.
bool refuse_unknown_words(const CLI::App& app) {
  for (const CLI::App* verb : app.get_subcommands()) {
    const std::vector<std::string> words = verb->remaining();
    if (words.empty()) continue;
    const auto dashed = std::find_if(words.begin(), words.end(), [](const std::string& word) {
      return word.size() > 1 && word[0] == '-';
    });
    const bool option = dashed != words.end();
    const std::string word = (option ? dashed->substr(0, dashed->find('=')) : words[0]);
    const std::string meant = option ? meant_option(word, *verb) : "";
    std::fprintf(stderr, "conclave %s: %s '%s'%s\nconclave %s --help explains its options\n",
                 verb->get_name().c_str(), option ? "unknown option" : "unexpected word",
                 word.substr(0, 100).c_str(),
                 meant.empty() ? "" : fmt::format(" (did you mean '{}'?)", meant).c_str(),
                 verb->get_name().c_str());
    return true;
  }
  return false;
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
    const bool asked = error.get_exit_code() == 0;  // for help
    if (!asked && refuse_unknown_words(app)) return cli::kExitUsage;
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
  const int code = run(argc, argv);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::fprintf(stderr, "conclave: the output could not be written: %s\n", std::strerror(errno));
  return code == 0 ? conclave::cli::kExitError : code;
}
