#include "serve/server.h"

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "models/chat_template_file.h"
#include "serve/http/http_server.h"
#include "serve/service.h"
#include "sys/files.h"

namespace conclave::serve {
namespace {

std::string served_name(const std::string& path, const ServerOptions& options) {
  if (!options.model_name.empty()) return options.model_name;
  const std::filesystem::path normal = std::filesystem::absolute(path).lexically_normal();
  const std::string name =
      (normal.has_filename() ? normal : normal.parent_path()).filename().string();
  return models::is_gguf(path) ? std::filesystem::path(name).stem().string() : name;
}

// A template of its own file knows the model's first and last token all the same.
text::ChatTemplate given_template(const std::string& file, const models::LoadedModel* model) {
  text::ChatTemplate::Texts special;
  if (model != nullptr && model->tokenizer) {
    const nn::TransformerConfig& config = model->transformer->config();
    for (const auto& [name, id] :
         {std::pair{"bos_token", config.bos_id}, std::pair{"eos_token", config.eos_id}}) {
      if (id >= 0) special.emplace_back(name, model->tokenizer->token_bytes(id));
    }
  }
  return text::ChatTemplate::from_text(sys::read_file(file, 1 << 20), file, special);
}

// `model` may be null: then only whether the template can be read counts.
std::optional<text::ChatTemplate> chat_template(const std::string& path,
                                                const ServerOptions& options,
                                                const models::LoadedModel* model) {
  if (!options.chat_template.empty()) return given_template(options.chat_template, model);
  try {
    return models::load_chat_template(path);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNotFound) throw;
    std::fprintf(stderr,
                 "conclave: the model has no chat template: chats continue the text of their "
                 "messages\n");
    return std::nullopt;
  }
}

// After the first signal: not ready at once; ends when nothing is left or the time is over. The
// second signal ends everything now.
class Drain {
 public:
  Drain(const ServerOptions& options, HttpServer& http, Service& service, Engine& engine)
      : options_(options), http_(http), service_(service), engine_(engine) {}

  void on_signal(int count) {
    if (count == 1) {
      std::fprintf(stderr, "conclave: finishing %lld requests; a second signal ends them\n",
                   static_cast<long long>(http_.busy()));
      service_.drain();
      http_.ticks(true);
      begun_ = Clock::now();
    } else if (count == 2) {
      engine_.end_all();
      ended_ = Clock::now();
    } else {
      _exit(130);
    }
  }

  void on_tick() {
    const Clock::time_point now = Clock::now();
    const auto since = [now](Clock::time_point t) {
      return std::chrono::duration<double>(now - t).count();
    };
    if (!ended_ && since(begun_) > options_.drain_seconds) {
      engine_.end_all();
      ended_ = now;
    }
    const bool done = engine_.idle() && http_.busy() == 0;
    if (done || (ended_ && since(*ended_) > 5)) http_.stop();
  }

 private:
  const ServerOptions& options_;
  HttpServer& http_;
  Service& service_;
  Engine& engine_;
  Clock::time_point begun_;
  std::optional<Clock::time_point> ended_;
};

// After the server's own handlers have gone, a further signal would kill a process that has
// finished its work and is about to say so with exit code 0.
struct IgnoreSignalsAtEnd {
  ~IgnoreSignalsAtEnd() {
    std::signal(SIGTERM, SIG_IGN);
    std::signal(SIGINT, SIG_IGN);
  }
};

}  // namespace

void serve(ops::Context& context, const std::string& model, const models::Precision& precision,
           const ServerOptions& options) {
  validate(options);
  std::signal(SIGPIPE, SIG_IGN);  // output that nobody reads any more ends no request
  ServedModel served{.loaded = models::load_model(context, model, precision),
                     .chat = {},
                     .name = served_name(model, options),
                     .pooling = pooling_of(model)};
  served.chat = chat_template(model, options, &served.loaded);
  Engine engine(context, served.loaded, options.engine);
  Service service(options, served, engine);
  const IgnoreSignalsAtEnd at_end;
  HttpServer http(
      {options.listens() ? options.host : "", static_cast<int>(options.port), options.unix_socket},
      options.http, service);
  if (options.listens()) {
    const bool six = options.host.find(':') != std::string::npos;
    std::printf("Serving %s at http://%s%s%s:%d\n", served.name.c_str(), six ? "[" : "",
                options.host.c_str(), six ? "]" : "", http.port());
  }
  if (!options.unix_socket.empty()) {
    std::printf("Serving %s at unix:%s\n", served.name.c_str(), options.unix_socket.c_str());
  }
  std::fflush(stdout);
  Drain drain(options, http, service, engine);
  http.run([&](int count) { drain.on_signal(count); }, [&] { drain.on_tick(); });
  engine.stop();  // before the connections end that its answers hold
}

void check(const std::string& model, const ServerOptions& options) {
  validate(options);
  const nn::TransformerConfig config = models::read_config(model);
  const models::FileWeights weights(model, config);
  weights.check(nn::Transformer(config).specs());
  if (!models::load_tokenizer(model)) {
    fail(ErrorKind::kNotFound, "{}: the model has no tokenizer, so it cannot be served", model);
  }
  chat_template(model, options, nullptr);
  pooling_of(model);
}

}  // namespace conclave::serve
