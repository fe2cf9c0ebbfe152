// conclave chat: a conversation in the terminal, through the model's own chat template.

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/answer_form.h"
#include "cli/verbs.h"
#include "infer/session.h"
#include "io/json.h"
#include "models/chat_template_file.h"
#include "sys/files.h"
#include "sys/interrupt.h"
#include "text/chat_template.h"
#include "text/utf8.h"

namespace conclave::cli {
namespace {

using nlohmann::json;

struct Options {
  std::string model, system, load;
  infer::GenerateOptions generate;
  std::int64_t context = 0;
  bool show_stats = false;
  std::vector<std::string> variables;
  AnswerForm form;
  MachineOptions machine;
};

constexpr const char* kHelp =
    "/help             this list\n"
    "/clear            begin a new conversation (the system message stays)\n"
    "/system TEXT      set the system message and begin a new conversation\n"
    "/undo             take back the last question and its answer\n"
    "/retry            answer the last question again, with another seed\n"
    "/set NAME VALUE   temperature, top-k, top-p, min-p, repeat-penalty, seed or max-tokens\n"
    "/history          show the conversation\n"
    "/save FILE        write the conversation as JSON; /load FILE goes on from one\n"
    "/stats            show or hide speed after each answer\n"
    "/quit             end (also Ctrl-D)\n"
    "A line that ends in \\ goes on in the next one; a line of \"\"\" begins and ends a longer "
    "text.\n"
    "Ctrl-C stops an answer.\n";

class Chat {
 public:
  Chat(ops::Context& context, Options& options)
      : options_(options),
        template_(models::load_chat_template(options.model)),
        session_(context, options.model, options.machine.precision(options.model)),
        terminal_(isatty(STDIN_FILENO) != 0) {
    const std::int64_t most = session_.config().max_positions;
    session_.keep_context(options.context > 0 ? options.context
                                              : std::min<std::int64_t>(most, 4096));
    options.form.apply(session_, options.generate);
    messages_ = json::array();
    if (!options.system.empty()) set_system(options.system);
    if (!options.load.empty()) load(options.load);
  }

  void run() {
    if (terminal_) {
      std::fprintf(stderr, "%s. /help lists the commands.\n", options_.model.c_str());
    }
    std::string text;
    while (read_message(text)) {
      if (text.empty()) continue;
      try {
        if (text[0] != '/') {
          say(text);
        } else if (!command(text)) {
          return;
        }
      } catch (const Error& error) {
        if (!terminal_) throw;
        sys::clear_interrupt();
        std::fprintf(stderr, "%s\n", error.what());
      }
    }
  }

 private:
  // A line, several with a backslash at their end, or a block between lines of """.
  bool read_message(std::string& text) {
    text.clear();
    bool block = false;
    for (const char* prompt = "> ";; prompt = ". ") {
      std::string line;
      if (!read_line(prompt, line)) return block || !text.empty();
      if (line == "\"\"\"") {
        if (block) return true;
        block = true;
        continue;
      }
      const bool goes_on = !block && !line.empty() && line.back() == '\\';
      if (goes_on) line.back() = '\n';
      text += line;
      if (block) text += '\n';
      if (!block && !goes_on) return true;
    }
  }

  bool read_line(const char* prompt, std::string& line) {
    while (true) {
      if (terminal_) {
        std::fputs(prompt, stdout);
        std::fflush(stdout);
      }
      if (std::getline(std::cin, line)) return true;
      if (!sys::interrupted() || !terminal_) return false;
      // Ctrl-C while nothing is said: forget the line and ask again.
      sys::clear_interrupt();
      std::cin.clear();
      std::clearerr(stdin);
      std::fputs("\n(Ctrl-D or /quit ends)\n", stdout);
    }
  }

  static void check_text(const std::string& text) {
    if (!text::is_utf8(text)) {
      fail(ErrorKind::kInvalidArgument, "the message is not UTF-8 (byte {} is no part of it)",
           text::utf8_prefix(text));
    }
  }

  void set_system(const std::string& text) {
    check_text(text);
    messages_ = json::array();
    if (!text.empty()) messages_.push_back({{"role", "system"}, {"content", text}});
  }

  void say(const std::string& text) {
    check_text(text);
    messages_.push_back({{"role", "user"}, {"content", text}});
    try {
      answer();
    } catch (const Error&) {
      messages_.erase(messages_.size() - 1);  // the question that could not be answered
      throw;
    }
  }

  std::vector<std::int32_t> prompt() const {
    text::ChatRequest request;
    request.messages = text::chat_value(messages_.dump(), "conversation");
    for (const std::string& variable : options_.variables) {
      const std::size_t equals = variable.find('=');
      if (equals == std::string::npos) {
        fail(ErrorKind::kInvalidArgument, "--kwarg '{}': expected KEY=JSON", variable);
      }
      request.variables.emplace_back(variable.substr(0, equals),
                                     text::chat_value(variable.substr(equals + 1), variable));
    }
    const auto parts = template_.render(request);
    return session_.tokenizer().encode_parts(text::text_parts(parts), false);
  }

  void answer() {
    const auto show = [](const std::string& piece) {
      std::fputs(piece.c_str(), stdout);
      std::fflush(stdout);
      return !sys::interrupted();
    };
    const infer::Generation g = session_.generate(prompt(), options_.generate, show);
    std::fputc('\n', stdout);
    std::fflush(stdout);
    messages_.push_back({{"role", "assistant"}, {"content", text::to_valid_utf8(g.text)}});
    if (options_.show_stats) {
      std::fprintf(stderr,
                   "[%lld prompt tokens, %lld of them kept, %.2f s; %zu tokens, %.1f a second%s]\n",
                   static_cast<long long>(g.prompt_tokens), static_cast<long long>(g.reused_tokens),
                   g.prefill_seconds, g.ids.size(),
                   static_cast<double>(g.ids.size()) / std::max(1e-9, g.decode_seconds),
                   g.finish == infer::FinishReason::kLength ? "; longest answer reached" : "");
    }
    if (sys::interrupted()) {
      if (!terminal_) throw Exit{kExitInterrupted};
      sys::clear_interrupt();
      std::fputs("[stopped]\n", stderr);
    }
  }

  void take_back(bool question) {
    while (!messages_.empty() && messages_.back()["role"] == "assistant") {
      messages_.erase(messages_.size() - 1);
    }
    if (question && !messages_.empty() && messages_.back()["role"] == "user") {
      messages_.erase(messages_.size() - 1);
    }
  }

  void load(const std::string& file) {
    json loaded = io::read_json_file(file);
    if (!loaded.is_array()) fail(ErrorKind::kBadFile, "{}: expected a list of messages", file);
    for (const json& message : loaded) {
      const auto role = message.find("role");
      if (!message.is_object() || role == message.end() || !role->is_string()) {
        fail(ErrorKind::kBadFile, "{}: expected messages with a \"role\" and a \"content\"", file);
      }
    }
    messages_ = std::move(loaded);
  }

  void set(const std::string& name, const std::string& value) {
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    infer::GenerateOptions changed = options_.generate;
    infer::SamplingOptions& s = changed.sampling;
    if (value.empty() || *end != '\0' || !std::isfinite(number)) {
      fail(ErrorKind::kInvalidArgument, "/set {}: found '{}', expected a number", name, value);
    }
    if (name == "temperature")
      s.temperature = number;
    else if (name == "top-k")
      s.top_k = static_cast<int>(std::clamp(number, -1.0, 1e9));
    else if (name == "top-p")
      s.top_p = number;
    else if (name == "min-p")
      s.min_p = number;
    else if (name == "repeat-penalty")
      s.repeat_penalty = number;
    else if (name == "seed")
      s.seed = static_cast<std::uint64_t>(std::clamp(number, 0.0, 1e18));
    else if (name == "max-tokens")
      changed.max_tokens = static_cast<std::int64_t>(std::clamp(number, 0.0, 1e9));
    else
      fail(ErrorKind::kInvalidArgument, "/set: no setting '{}'; /help lists them", name);
    infer::validate(s);
    options_.generate = changed;
  }

  void show_history() const {
    for (const json& message : messages_) {
      const json& content = message.value("content", json(""));
      const std::string text = content.is_string() ? content.get<std::string>() : content.dump();
      std::printf("%s: %s\n", message.value("role", "?").c_str(), text.c_str());
    }
  }

  // False: end the program.
  bool command(const std::string& text) {
    const std::size_t space = text.find_first_of(" \n");
    const std::string name = text.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : text.substr(space + 1);
    if (name == "/quit" || name == "/exit") return false;
    if (name == "/help") {
      std::fputs(kHelp, stdout);
    } else if (name == "/clear") {
      const bool has_system = !messages_.empty() && messages_[0]["role"] == "system";
      messages_ = has_system ? json::array({messages_[0]}) : json::array();
    } else if (name == "/system") {
      set_system(rest);
    } else if (name == "/undo") {
      take_back(true);
    } else if (name == "/retry") {
      take_back(false);
      if (messages_.empty() || messages_.back()["role"] != "user") {
        fail(ErrorKind::kInvalidArgument, "/retry: nothing was asked yet");
      }
      ++options_.generate.sampling.seed;
      answer();
    } else if (name == "/history") {
      show_history();
    } else if (name == "/save") {
      if (rest.empty()) fail(ErrorKind::kInvalidArgument, "/save FILE: which file?");
      sys::write_file_atomically(rest, messages_.dump(2) + "\n");
    } else if (name == "/load") {
      load(rest);
    } else if (name == "/stats") {
      options_.show_stats = !options_.show_stats;
    } else if (name == "/set") {
      const std::size_t gap = rest.find(' ');
      set(rest.substr(0, gap), gap == std::string::npos ? "" : rest.substr(gap + 1));
    } else {
      fail(ErrorKind::kInvalidArgument, "no command '{}'; /help lists them", name);
    }
    return true;
  }

  Options& options_;
  text::ChatTemplate template_;  // before the weights: a model without one is refused at once
  infer::Session session_;
  bool terminal_;
  json messages_;
};

void chat(Options& options) {
  infer::validate(options.generate.sampling);
  const sys::InterruptGuard guard;
  ops::Context context = options.machine.context();
  Chat(context, options).run();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto o = std::make_shared<Options>();
  o->generate.max_tokens = 1024;
  infer::SamplingOptions& s = o->generate.sampling;
  CLI::App* command = app.add_subcommand("chat", "talk with a model, through its chat template");
  command->add_option("MODEL", o->model, "model directory or GGUF file")->required();
  command->add_option("--system", o->system, "system message");
  command->add_option("--load", o->load, "go on from a conversation that /save wrote");
  command
      ->add_option("--context", o->context,
                   "tokens of conversation (default: 4096, or the model's context)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24));
  command->add_option("-n,--max-tokens", o->generate.max_tokens, "longest answer, in tokens")
      ->check(CLI::Range(std::int64_t{1}, (std::int64_t{1} << 31) - 1))
      ->capture_default_str();
  add_sampling_options(*command, s);
  command->add_option("--kwarg", o->variables, "KEY=JSON for the template, repeated");
  o->form.add_to(*command);
  command->add_flag("--stats", o->show_stats, "print speed after each answer");
  o->machine.add_to(*command);
  command->footer(
      "Examples:\n"
      "  conclave chat my-model.gguf --system \"You answer in French.\"\n"
      "  echo \"Why is the sky blue?\" | conclave chat my-model --temperature 0");
  command->callback([o] { chat(*o); });
}

}  // namespace conclave::cli
