// The API: which paths there are, who may use them, and what they answer. Lives on the I/O thread;
// texts are parsed and tokenised by a worker, and tokens come from the engine's thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "serve/answer.h"
#include "serve/api_error.h"
#include "serve/client_limits.h"
#include "serve/engine.h"
#include "serve/log_writer.h"
#include "serve/options.h"
#include "serve/worker.h"
#include "text/chat_template.h"

namespace conclave::serve {

struct ServedModel {
  models::LoadedModel loaded;
  std::optional<text::ChatTemplate> chat;  // nothing: messages are joined
  std::string name;
  Pooling pooling = Pooling::kMean;  // of embeddings
};
// What a model directory says about embeddings (sentence-transformers' 1_Pooling/config.json): the
// mean where it says nothing. Throws Error: kBadFile, kUnsupported.
Pooling pooling_of(const std::string& model);

class Service final : public HttpHandler {
 public:
  // Borrows all of them.
  Service(const ServerOptions& options, const ServedModel& model, Engine& engine);

  std::optional<HttpResponse> refuse(const HttpRequest& request) override;
  HttpResponse malformed(int status, const std::string& reason) override;
  void handle(std::shared_ptr<Exchange> exchange) override;

  // From now on not ready, and completions are refused.
  void drain();

 private:
  struct Call;     // a request on its way to its answer
  struct Stream;   // a completion whose tokens arrive
  struct Vectors;  // embeddings that arrive
  struct Route {
    const char* method;
    const char* path;  // with a / at its end: of what is below it
    bool open;         // needs no key
    bool compute;      // refused while the queue is full or the server drains
    void (Service::*handle)(const std::shared_ptr<Call>&);
    bool leads(const std::string& target) const;
  };
  static const Route kRoutes[];

  static const Route* find_route(const HttpRequest& request);
  static ApiError no_route(const HttpRequest& request);
  std::optional<ApiError> check(const HttpRequest& request);
  std::string id_of(const HttpRequest& request);
  bool host_allowed(const std::string& host) const;
  // Who asks: "key1" for the first key, or the address where no keys are set; nothing: nobody who
  // may.
  std::optional<std::string> client_of(const HttpRequest& request) const;
  std::optional<ApiError> check_client(const std::string& client);
  std::optional<ApiError> check_load(const std::string& client) const;
  ApiError refusal(Admission admission) const;

  void page(const std::shared_ptr<Call>& call);
  void status(const std::shared_ptr<Call>& call);
  void live(const std::shared_ptr<Call>& call);
  void ready(const std::shared_ptr<Call>& call);
  void version(const std::shared_ptr<Call>& call);
  void openapi(const std::shared_ptr<Call>& call);
  void metrics(const std::shared_ptr<Call>& call);
  nlohmann::json model_json() const;
  void models(const std::shared_ptr<Call>& call);
  void one_model(const std::shared_ptr<Call>& call);
  void routing(const std::shared_ptr<Call>& call);
  void tokenize(const std::shared_ptr<Call>& call);
  void detokenize(const std::shared_ptr<Call>& call);
  void chat(const std::shared_ptr<Call>& call);
  void completion(const std::shared_ptr<Call>& call);
  void embedding(const std::shared_ptr<Call>& call);

  // Runs `work` on the worker; what it throws becomes the answer.
  void on_worker(const std::shared_ptr<Call>& call, std::function<void()> work);
  void start_embedding(const std::shared_ptr<Call>& call, const std::string& body);
  void check_model(const std::string& name) const;
  void start(const std::shared_ptr<Call>& call, const CompletionRequest& request);
  // Throws ApiError for ids that are no tokens; `field` is where they came from.
  void check_ids(const std::vector<std::int32_t>& ids, const char* field) const;
  std::vector<std::int32_t> encode_prompt(const Prompt& prompt, const char* field) const;
  // A conversation on its way to the model, and how its answer is to be read.
  struct ChatPrompt {
    std::vector<std::int32_t> ids, shown;
    ReaderOptions output;
  };
  ChatPrompt encode_chat(const CompletionRequest& request) const;
  infer::grammar::ConstraintPtr chat_constraint(const CompletionRequest& request,
                                                const ChatPrompt& prompt);
  SequenceRequest sequence_of(const CompletionRequest& request,
                              const std::vector<std::int32_t>& prompt, int copy) const;
  void finished(const Call& call, int status, const std::string& notes);
  void log(const std::string& fields);

  const ServerOptions& options_;
  const ServedModel& model_;
  Engine& engine_;
  std::vector<RoutedLayer> layers_;
  OutputForm form_;  // of the model's answers to chats
  std::int64_t created_;
  Clock::time_point begun_ = Clock::now();
  bool draining_ = false;
  std::uint64_t id_seed_, id_count_ = 0;
  std::map<std::pair<std::string, int>, std::int64_t> answers_;  // by path and status
  GrammarCache grammars_;                                        // the worker's
  ClientLimits clients_;
  LogWriter log_;
  Worker worker_;
};

}  // namespace conclave::serve
