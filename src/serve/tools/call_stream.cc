#include "serve/tools/call_stream.h"

namespace conclave::serve {

namespace {

constexpr std::size_t kMostHeadBytes = 512;  // a name has 64, marks and spaces some more

bool is_object_form(ToolForm form) {
  return form == ToolForm::kTagged || form == ToolForm::kList || form == ToolForm::kBare;
}

// What makes a call of a head and arguments, or nothing for forms that have no JSON to stream.
const char* call_end(ToolForm form) {
  switch (form) {
    case ToolForm::kTagged:
    case ToolForm::kList:
    case ToolForm::kBare:
      return "}";
    case ToolForm::kNamed:
    case ToolForm::kChannels:
      return "";
    case ToolForm::kSeparated:
      return marks::kDeepEnd;
    case ToolForm::kSection:
      return marks::kSectionEnd;
    default:
      return nullptr;
  }
}

}  // namespace

void CallStream::reset() {
  place_ = Place::kHead;
  head_.clear();
  begun_ = 0;
}

void CallStream::push(std::string_view text, OutputPieces& out) {
  std::string arguments;
  const auto flush = [&] {
    if (arguments.empty()) return;
    out.push_back({OutputPiece::Kind::kArguments, std::exchange(arguments, ""), {}});
  };
  for (const char c : text) {
    if (place_ == Place::kGivenUp) break;
    if (place_ == Place::kHead) {
      flush();
      head(c, out);
    }
    if (place_ == Place::kArguments) argument(c, arguments);
  }
  flush();
}

// Each { may be where the arguments begin: it is where the head makes a call with {} behind it.
void CallStream::head(char c, OutputPieces& out) {
  const ToolForm form = options_.form.tools;
  const char* const end = call_end(form);
  const bool only_one = form == ToolForm::kChannels && begun_ > 0;
  if (end == nullptr || only_one || head_.size() > kMostHeadBytes) {
    place_ = Place::kGivenUp;
    return;
  }
  if (c != '{') {
    head_ += c;
    return;
  }
  const bool object = is_object_form(form);
  if (object && head_.find('{') == std::string::npos) {
    head_ = "{";  // what was in front of it: the end of the last call, a comma, the list's [
    return;
  }
  const std::string& open = options_.form.open;
  if (!object && !open.empty() && head_.starts_with(open)) head_.erase(0, open.size());
  auto calls = parse_calls(options_, head_ + "{}" + end);
  if (calls.size() != 1 || calls[0].arguments != "{}") {
    place_ = Place::kGivenUp;
    return;
  }
  calls[0].arguments.clear();
  out.push_back({OutputPiece::Kind::kCallStart, "", std::move(calls[0])});
  ++begun_;
  head_.clear();
  depth_ = 0;
  place_ = Place::kArguments;
}

// White space between values is left out, as it is where a call comes whole.
void CallStream::argument(char c, std::string& text) {
  if (quoted_) {
    text += c;
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      quoted_ = false;
    }
    return;
  }
  if (c == ' ' || c == '\n' || c == '\r' || c == '\t') return;
  text += c;
  if (c == '"') quoted_ = true;
  if (c == '{' || c == '[') ++depth_;
  if ((c == '}' || c == ']') && --depth_ == 0) place_ = Place::kHead;
}

}  // namespace conclave::serve
