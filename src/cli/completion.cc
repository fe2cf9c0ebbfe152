// conclave completion bash: a completion script made from the parser's own list of verbs and
// options, so that it never lags behind.

#include <cstdio>
#include <string>

#include "cli/verbs.h"

namespace conclave::cli {
namespace {

std::string words_of(const CLI::App* app) {
  std::string words;
  for (const CLI::Option* option : app->get_options()) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  for (const CLI::App* verb : app->get_subcommands([](const CLI::App*) { return true; })) {
    words += verb->get_name() + " ";
  }
  return words;
}

void print_bash(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    cases += "    " + verb->get_name() + ") words=\"" + words_of(verb) + "\" ;;\n";
  }
  std::printf(
      "_conclave() {\n"
      "  local words current=\"${COMP_WORDS[COMP_CWORD]}\"\n"
      "  case \"${COMP_WORDS[1]}\" in\n%s"
      "    *) words=\"%s\" ;;\n"
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "}\n"
      "complete -o default -F _conclave conclave\n",
      cases.c_str(), words_of(&app).c_str());
}

}  // namespace

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>("bash");
  CLI::App* command = app.add_subcommand("completion", "print a completion script for the shell");
  command->add_option("SHELL", *shell, "bash")
      ->check(CLI::IsMember({"bash"}))
      ->capture_default_str();
  command->footer("Example:\n  source <(conclave completion bash)");
  command->callback([&app] { print_bash(app); });
}

}  // namespace conclave::cli
