// /v1/embeddings: texts to vectors of length one.

#include <bit>
#include <filesystem>

#include "base/error.h"
#include "io/json.h"
#include "serve/call.h"
#include "serve/fields.h"
#include "serve/request_fields.h"
#include "text/base64.h"

namespace conclave::serve {

using nlohmann::json;

// Collects the vectors of one request. On the I/O thread.
struct Service::Vectors {
  Vectors(std::shared_ptr<Call> c, std::size_t n, bool b)
      : call(std::move(c)), embeddings(n), open(n), base64(b) {}

  void on_event(std::size_t index, Event event) {
    if (over) return;
    if (event.end == EndReason::kNone) return;
    if (event.end != EndReason::kStop) {
      over = true;
      *cancelled = true;
      ApiError error = server_error("the embedding failed: " + event.error);
      if (event.end == EndReason::kShutdown) error = shutting_down();
      if (event.end == EndReason::kDeadline) {
        error =
            overloaded("the time for this request is over", call->service.engine_.retry_after());
        error.code = "deadline_exceeded";
      }
      call->respond(error);
      return;
    }
    embeddings[index] = std::move(event.embedding);
    if (--open > 0) return;
    over = true;
    call->notes = fmt::format("prompt_tokens={}", prompt_tokens);
    call->respond_json(object());
  }

  std::string object() const {
    json data = json::array();
    for (std::size_t i = 0; i < embeddings.size(); ++i) {
      json vector = embeddings[i];
      if (base64) {  // little-endian f32, as the clients read it
        static_assert(std::endian::native == std::endian::little);
        vector = text::encode_base64({reinterpret_cast<const char*>(embeddings[i].data()),
                                      embeddings[i].size() * sizeof(float)});
      }
      data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(vector)}});
    }
    const json value = {
        {"object", "list"},
        {"data", std::move(data)},
        {"model", call->service.model_.name},
        {"usage", {{"prompt_tokens", prompt_tokens}, {"total_tokens", prompt_tokens}}}};
    return value.dump();
  }

  std::shared_ptr<Call> call;
  std::vector<std::vector<float>> embeddings;
  std::size_t open;
  bool base64, over = false;
  std::int64_t prompt_tokens = 0;
  CancelFlag cancelled = std::make_shared<std::atomic<bool>>(false);
};

void Service::start_embedding(const std::shared_ptr<Call>& call, const std::string& text) {
  const json body = parse_request(text);
  check_field_names(body, RequestKind::kEmbedding);
  const Fields fields(body);
  const std::string format = fields.string("encoding_format", "float");
  if (format != "float" && format != "base64") {
    fields.wrong("encoding_format", json(format), "float or base64");
  }
  const std::int64_t width = model_.loaded.transformer->config().d_model;
  if (fields.integer("dimensions", 1, std::int64_t{1} << 31, width) != width) {
    throw bad_request(fmt::format("'dimensions': this model's embeddings have {}", width),
                      "dimensions", "unsupported_parameter");
  }
  const std::vector<Prompt> prompts = parse_prompts(body, "input");
  for (const Prompt& prompt : prompts) {
    if (std::visit([](const auto& input) { return input.empty(); }, prompt)) {
      throw bad_request("'input': found an empty text, expected at least one token", "input");
    }
  }
  check_model(fields.string("model", ""));
  const auto vectors = std::make_shared<Vectors>(call, prompts.size(), format == "base64");
  std::vector<SequenceRequest> sequences(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    SequenceRequest& sequence = sequences[i];
    sequence.prompt = encode_prompt(prompts[i], "input");
    const auto size = static_cast<std::int64_t>(sequence.prompt.size());
    if (size > engine_.context_limit()) {
      throw bad_request(
          fmt::format("This model's maximum context length is {} tokens. However, input {} has "
                      "{}. Please reduce its length.",
                      engine_.context_limit(), i, size),
          "input", "context_length_exceeded");
    }
    vectors->prompt_tokens += size;
    sequence.max_tokens = 0;
    sequence.pooling = model_.pooling;
    sequence.deadline =
        call->begun +
        std::chrono::milliseconds(static_cast<std::int64_t>(options_.request_seconds * 1000));
    sequence.client = call->client;
    sequence.cancelled = vectors->cancelled;
    sequence.on_event = [vectors, i](Event&& event) {
      vectors->call->exchange->post([vectors, i, event = std::move(event)]() mutable {
        vectors->on_event(i, std::move(event));
      });
    };
  }
  call->exchange->post([vectors] {
    vectors->call->exchange->on_leave([vectors] {
      if (std::exchange(vectors->over, true)) return;
      *vectors->cancelled = true;
      vectors->call->service.engine_.wake();
      vectors->call->notes += " left=true";
      vectors->call->finish(499);
    });
  });
  const Admission admission = engine_.submit(std::move(sequences));
  if (admission != Admission::kAccepted) {
    vectors->over = true;
    throw refusal(admission);
  }
}

void Service::embedding(const std::shared_ptr<Call>& call) {
  on_worker(call, [this, call] { start_embedding(call, call->exchange->request().body); });
}

Pooling pooling_of(const std::string& model) {
  const std::filesystem::path file = std::filesystem::path(model) / "1_Pooling" / "config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return Pooling::kMean;
  const json config = io::read_json_file(file.string());
  const io::JsonView view(config, file.string());
  if (view.boolean("pooling_mode_lasttoken", false)) return Pooling::kLast;
  if (!view.boolean("pooling_mode_mean_tokens", false)) {
    fail(ErrorKind::kUnsupported, "{}: only the mean of all tokens and the last one are supported",
         file.string());
  }
  return Pooling::kMean;
}

}  // namespace conclave::serve
