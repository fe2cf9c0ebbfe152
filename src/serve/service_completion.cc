// Completions: from a body to sequences for the engine, and from their events to the answer.

#include <ctime>
#include <random>

#include "base/error.h"
#include "serve/call.h"
#include "serve/fields.h"

namespace conclave::serve {

using nlohmann::json;

// A completion whose tokens arrive. On the I/O thread.
struct Service::Stream : std::enable_shared_from_this<Service::Stream> {
  Stream(std::shared_ptr<Call> c, Answer a, bool s)
      : call(std::move(c)), answer(std::move(a)), streaming(s) {}

  void on_event(std::size_t choice, Event event) {
    if (over) return;
    if (event.end >= EndReason::kCancelled) {
      fail(event);
      return;
    }
    if (event.id >= 0 && answer.generated_tokens() == 0) first_token = Clock::now();
    const std::string bytes = answer.add(choice, std::move(event));
    if (streaming) {
      // The head waits for the first token: what fails before it has a status of its own.
      begin();
      call->exchange->write(bytes);
    }
    if (!answer.complete()) return;
    over = true;
    note();
    if (streaming) {
      call->exchange->write(answer.last_events());
      call->exchange->end_stream();
      call->finish(200);
    } else {
      call->respond_json(answer.object());
    }
  }

  void fail(const Event& event) {
    over = true;
    *cancelled = true;
    note();
    ApiError error = server_error("the answer failed: " + event.error);
    if (event.end == EndReason::kShutdown) error = shutting_down();
    if (event.end == EndReason::kDeadline) {
      error = overloaded("the time for this request is over", call->service.engine_.retry_after());
      error.code = "deadline_exceeded";
    }
    if (!begun) {
      call->respond(error);
      return;
    }
    call->notes += " error=" + error.code;
    call->exchange->write("data: " + error_body(error) + "\n\n");
    call->exchange->end_stream();
    call->finish(200);
  }

  void begin() {
    if (std::exchange(begun, true)) return;
    call->exchange->begin_stream(
        {.content_type = "text/event-stream; charset=utf-8",
         .headers = {{"Cache-Control", "no-cache"}, {"X-Request-Id", call->id}},
         .body = {}});
  }

  void leave() {
    over = true;
    *cancelled = true;
    call->service.engine_.wake();
    note();
    call->notes += " left=true";
    call->finish(499);
  }

  void note() {
    call->notes = fmt::format("prompt_tokens={} generated_tokens={}", answer.prompt_tokens(),
                              answer.generated_tokens());
    if (answer.generated_tokens() > 0) {
      call->notes +=
          fmt::format(" first_token_ms={:.1f}",
                      std::chrono::duration<double, std::milli>(first_token - call->begun).count());
    }
  }

  std::shared_ptr<Call> call;
  Answer answer;
  bool streaming, begun = false, over = false;
  Clock::time_point first_token;
  CancelFlag cancelled = std::make_shared<std::atomic<bool>>(false);
};

void Service::check_ids(const std::vector<std::int32_t>& ids, const char* field) const {
  const auto vocabulary = static_cast<std::int32_t>(model_.loaded.transformer->config().vocab_size);
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocabulary) {
      throw bad_request(
          fmt::format("'{}': found token {}, expected 0 to {}", field, id, vocabulary - 1), field);
    }
  }
}

std::vector<std::int32_t> Service::encode_prompt(const Prompt& prompt, const char* field) const {
  if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&prompt)) {
    check_ids(*ids, field);
    return *ids;
  }
  std::vector<std::int32_t> ids = model_.loaded.tokenizer->encode(std::get<std::string>(prompt));
  if (ids.empty()) {  // the model needs something to go on from
    const nn::TransformerConfig& config = model_.loaded.transformer->config();
    ids.push_back(config.bos_id >= 0 ? config.bos_id : std::max(0, config.eos_id));
  }
  return ids;
}

namespace {

// Clients look for OpenAI's words to shorten a conversation and try again.
ApiError too_long(std::int64_t context, std::size_t prompt, const CompletionRequest& request) {
  const char* const field = request.chat ? "messages" : "prompt";
  const auto answer = static_cast<std::uint64_t>(std::max<std::int64_t>(0, request.max_tokens));
  const std::string asked =
      answer == 0 ? fmt::format("your {} has {} tokens", field, prompt)
                  : fmt::format("you requested {} tokens ({} in the {}, {} in the completion)",
                                prompt + answer, prompt, field, answer);
  return bad_request(
      fmt::format("This model's maximum context length is {} tokens. However, {}. Please reduce "
                  "the length of the {} or of the completion.",
                  context, asked, field),
      field, "context_length_exceeded");
}

}  // namespace

SequenceRequest Service::sequence_of(const CompletionRequest& request,
                                     const std::vector<std::int32_t>& prompt, int copy) const {
  SequenceRequest sequence;
  sequence.prompt = prompt;
  sequence.sampling = request.sampling;
  // The first answer has the seed itself, as `conclave run` would; the others are far from it.
  sequence.sampling.seed += static_cast<std::uint64_t>(copy) * 0x9E3779B97F4A7C15u;
  const std::int64_t room = engine_.context_limit() - static_cast<std::int64_t>(prompt.size());
  sequence.max_tokens = request.max_tokens;
  if (request.max_tokens < 0) sequence.max_tokens = std::min(options_.default_max_tokens, room);
  if (sequence.max_tokens > room || room < 1) {
    throw too_long(engine_.context_limit(), prompt.size(), request);
  }
  sequence.stop = request.stop;
  sequence.ignore_eos = request.ignore_eos;
  sequence.logprobs = request.logprobs;
  sequence.routing = request.routing;
  return sequence;
}

void Service::check_model(const std::string& name) const {
  if (name == model_.name) return;
  if (name.empty()) {
    throw bad_request(
        fmt::format("you must provide a model parameter; this server has '{}'", model_.name),
        "model");
  }
  throw ApiError{.status = 404,
                 .code = "model_not_found",
                 .message = fmt::format("The model '{}' does not exist; this server has '{}'.",
                                        name.substr(0, 100), model_.name),
                 .param = "model"};
}

void Service::start(const std::shared_ptr<Call>& call, const CompletionRequest& given) {
  CompletionRequest request = given;
  check_model(request.model);
  if (!request.has_seed) {
    request.sampling.seed = (std::uint64_t{std::random_device()()} << 32) | std::random_device()();
  }
  std::vector<std::vector<std::int32_t>> prompts;
  ChatPrompt chat;
  if (request.chat) {
    chat = encode_chat(request);
    prompts.push_back(chat.ids);
  }
  for (const Prompt& prompt : request.prompts) prompts.push_back(encode_prompt(prompt, "prompt"));

  const infer::grammar::ConstraintPtr constraint =
      request.chat ? chat_constraint(request, chat) : grammars_.get(request.format);
  std::int64_t prompt_tokens = 0;
  std::vector<SequenceRequest> sequences;
  for (const auto& prompt : prompts) {
    prompt_tokens += static_cast<std::int64_t>(prompt.size());
    for (int copy = 0; copy < request.n; ++copy) {
      sequences.push_back(sequence_of(request, prompt, copy));
      sequences.back().constraint = constraint;
      sequences.back().shown = chat.shown;
    }
  }
  const std::string id = (request.chat ? "chatcmpl-" : "cmpl-") + call->id;
  const auto stream = std::make_shared<Stream>(
      call,
      Answer(request, {id, model_.name, std::time(nullptr)}, *model_.loaded.tokenizer, layers_,
             sequences.size(), prompt_tokens),
      request.stream);
  if (request.chat) stream->answer.read_output(chat.output);
  double seconds = options_.request_seconds;
  const std::string& asked = call->exchange->request().timeout;
  if (!asked.empty()) {
    char* end = nullptr;
    const double value = std::strtod(asked.c_str(), &end);
    if (*end != '\0' || !(value > 0)) {
      throw bad_request("X-Request-Timeout: expected seconds", "X-Request-Timeout");
    }
    seconds = std::min(seconds, value);
  }
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    sequences[i].deadline =
        call->begun + std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    sequences[i].client = call->client;
    sequences[i].cancelled = stream->cancelled;
    sequences[i].on_event = [stream, i](Event&& event) {
      stream->call->exchange->post([stream, i, event = std::move(event)]() mutable {
        stream->on_event(i, std::move(event));
      });
    };
  }
  // Before the first event can come: it may be told that the client has left already.
  call->exchange->post([stream] {
    stream->call->exchange->on_leave([stream] {
      if (!stream->over) stream->leave();
    });
  });
  const Admission admission = engine_.submit(std::move(sequences));
  if (admission != Admission::kAccepted) {
    stream->over = true;
    throw refusal(admission);
  }
}

void Service::chat(const std::shared_ptr<Call>& call) {
  on_worker(call, [this, call] {
    const std::string& body = call->exchange->request().body;
    start(call, parse_chat_request(parse_request(body), body));
  });
}

void Service::completion(const std::shared_ptr<Call>& call) {
  on_worker(call, [this, call] {
    const std::string& body = call->exchange->request().body;
    start(call, parse_completion_request(parse_request(body), body));
  });
}

}  // namespace conclave::serve
