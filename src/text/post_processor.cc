#include "text/post_processor.h"

#include <utility>

#include "base/error.h"
#include "text/display.h"
#include "text/vocabulary.h"

namespace conclave::text {
namespace {

constexpr int kMaxNesting = 8;

std::int32_t token_id(const JsonView& value) {
  const std::int64_t id = value.integer();
  if (id < 0 || id >= kMaxVocabulary)
    value.wrong(fmt::format("an id in 0..{}", kMaxVocabulary - 1));
  return static_cast<std::int32_t>(id);
}

std::vector<PostProcessor::Part> parse_template(const JsonView& config) {
  std::vector<PostProcessor::Part> parts;
  const JsonView single = config.at("single");
  for (std::size_t i = 0; i < single.size(); ++i) {
    const JsonView part = single.at(i);
    if (part.has("Sequence")) {
      // The second text of a pair never comes up here.
      if (part.at("Sequence").text("id") != "A") part.wrong("sequence A in 'single'");
      parts.push_back({true, {}});
      continue;
    }
    const std::string& name = part.at("SpecialToken").text("id");
    const JsonView ids = config.at("special_tokens").at(name.c_str()).at("ids");
    PostProcessor::Part special;
    for (std::size_t k = 0; k < ids.size(); ++k) special.ids.push_back(token_id(ids.at(k)));
    parts.push_back(std::move(special));
  }
  return parts;
}

std::vector<PostProcessor::Part> parse_bert(const JsonView& config) {
  const auto id_of = [&](const char* key) { return token_id(config.at(key).at(std::size_t{1})); };
  return {{false, {id_of("cls")}}, {true, {}}, {false, {id_of("sep")}}};
}

void append(const JsonView& config, int depth, PostProcessor& out) {
  const std::string& type = config.text("type");
  if (type == "Sequence") {
    if (depth == kMaxNesting) {
      fail(ErrorKind::kUnsupported, "key '{}': sequences nested deeper than {}", config.path(),
           kMaxNesting);
    }
    const JsonView list = config.at("processors");
    for (std::size_t i = 0; i < list.size(); ++i) append(list.at(i), depth + 1, out);
  } else if (type == "TemplateProcessing") {
    out.templates.push_back(parse_template(config));
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    out.templates.push_back(parse_bert(config));
  } else if (type != "ByteLevel") {  // ByteLevel only moves offsets
    fail(ErrorKind::kUnsupported, "key '{}': post-processor '{}' is not known", config.path(),
         display_text(type));
  }
}

}  // namespace

void PostProcessor::apply(bool add_special, std::vector<std::int32_t>& ids) const {
  for (const auto& parts : templates) {
    std::vector<std::int32_t> out;
    for (const Part& part : parts) {
      if (part.sequence) {
        out.insert(out.end(), ids.begin(), ids.end());
      } else if (add_special) {
        out.insert(out.end(), part.ids.begin(), part.ids.end());
      }
    }
    ids = std::move(out);
  }
}

PostProcessor make_post_processor(const JsonView& config) {
  PostProcessor out;
  if (!config.is_null()) append(config, 0, out);
  return out;
}

}  // namespace conclave::text
