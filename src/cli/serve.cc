// conclave serve: a model behind the API that OpenAI's clients speak.

#include "serve/server.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "cli/verbs.h"

namespace conclave::cli {
namespace {

constexpr const char* kDemoModel = "demo/model";  // what `make demo` leaves

struct Options {
  std::string model, config;
  bool check = false;
  serve::ServerOptions server;
  MachineOptions machine;
};

void add_setting(CLI::App& command, const serve::Setting& s) {
  const std::string flag = std::string("--") + s.name;
  std::visit(
      [&](auto* target) {
        using T = std::remove_pointer_t<decltype(target)>;
        if constexpr (std::is_same_v<T, bool>) {
          const std::string both = flag + ",!--no-" + s.name;
          command.add_flag(both, *target, s.help)->capture_default_str();
        } else {
          CLI::Option* option = command.add_option(flag, *target, s.help);
          if constexpr (std::is_arithmetic_v<T>) {
            option->check(CLI::Range(static_cast<T>(s.min < 1 && std::is_integral_v<T> ? 0 : s.min),
                                     static_cast<T>(s.max)));
          }
          if (!s.choices.empty()) option->check(CLI::IsMember(s.choices));
          if constexpr (!std::is_same_v<T, std::vector<std::string>>) {
            option->capture_default_str();
          } else {
            option->expected(1);
            option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
          }
        }
      },
      s.target);
}

// What --config may set: the server's settings, and those that verbs share.
std::vector<serve::Setting> file_settings(Options& o) {
  std::vector<serve::Setting> settings = serve::settings_of(o.server);
  MachineOptions& m = o.machine;
  settings.push_back({"threads", &m.threads, 0, MachineOptions::kMostThreads, ""});
  settings.push_back({"pin", &m.pin, 0, 0, ""});
  settings.push_back({"dtype", &m.dtype, 0, 0, "", MachineOptions::kDtypes});
  settings.push_back({"kv-type", &m.kv_type, 0, 0, "", MachineOptions::kKvTypes});
  return settings;
}

void serve_model(CLI::App& command, Options& options) {
  if (options.model.empty()) {
    if (!std::filesystem::exists(kDemoModel)) {
      fail(ErrorKind::kNotFound,
           "no MODEL is named and there is no {}: name a model directory or GGUF file, or run "
           "make demo",
           kDemoModel);
    }
    options.model = kDemoModel;
  }
  if (!options.config.empty()) {
    serve::read_options(options.config, file_settings(options), [&](const std::string& name) {
      return command.get_option("--" + name)->count() > 0;
    });
  }
  if (const char* key = std::getenv("CONCLAVE_API_KEY"); key != nullptr && *key != '\0') {
    options.server.api_keys.emplace_back(key);
  }
  ops::Context context = options.machine.context();
  if (options.check) {
    serve::check(options.model, options.server);
    std::printf("%s: can be served\n", options.model.c_str());
    return;
  }
  serve::serve(context, options.model, options.machine.precision(options.model), options.server);
}

}  // namespace

void add_serve(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("serve", "answer OpenAI's clients over HTTP");
  command->add_option("MODEL", o->model, "model directory or GGUF file (default: demo/model)");
  command->add_option("--config", o->config,
                      "TOML file of these settings, with _ for -; flags go before it");
  command->add_flag("--check", o->check, "check settings and the model's files, and end");
  for (const serve::Setting& setting : serve::settings_of(o->server))
    add_setting(*command, setting);
  o->machine.add_to(*command);
  command->footer(
      "Examples:\n"
      "  conclave serve my-model\n"
      "  curl http://127.0.0.1:8080/v1/completions -d '{\"model\": \"my-model\", \"prompt\": \"It "
      "was a dark\"}'\n"
      "  CONCLAVE_API_KEY=... conclave serve my-model.gguf --host 0.0.0.0 --allow-host my.name");
  command->callback([o, command] { serve_model(*command, *o); });
}

}  // namespace conclave::cli
